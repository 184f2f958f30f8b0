"""A language model through vLLM, in this process.

vLLM needs a GPU of its own kind and is no part of peaframe's tests: this file is thin on purpose and has not been run
against it. `vllm serve` with `Endpoint`, which is tested, is the other way to the same models.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from peaframe.captions.parts import Answer
from peaframe.errors import MissingExtraError, ModelError


class VllmWriter:
    """Answers prompts with `vllm.LLM.chat`, the likeliest words each time."""

    def __init__(self, source: str, tokens: int = 256, **engine: Any) -> None:
        """Load a model.

        Args:
            source: folder or hub id, of safetensors.
            tokens: of an answer at most.
            engine: more for `vllm.LLM`, such as `tensor_parallel_size`.

        Raises:
            MissingExtraError: vLLM is not installed.
            ModelError: vLLM cannot load it.
        """
        try:
            vllm = importlib.import_module("vllm")
        except ImportError as error:
            raise MissingExtraError("vllm", "vllm", "writing captions with vLLM") from error
        try:
            self._llm = vllm.LLM(model=source, trust_remote_code=False, load_format="safetensors", **engine)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{source}: vLLM cannot load it ({reason}); check the folder or hub id"
            ) from error
        self._how = vllm.SamplingParams(temperature=0.0, max_tokens=tokens)
        self.name = source
        self.identity = f"vllm {source} {tokens}"

    def write(self, prompts: Sequence[str]) -> list[Answer]:
        """Answer prompts."""
        talks = [[{"role": "user", "content": prompt}] for prompt in prompts]
        return [made.outputs[0].text for made in self._llm.chat(talks, self._how, use_tqdm=False)]
