"""Models on this machine through transformers: captioners of sound and of pictures, and language models.

Weights are safetensors and no code of a checkpoint is run. The same folder or hub id names weights, tokenizer and
feature extractor. Answers are those of the likeliest words (greedy, or by beams), so that they can be kept; in a batch,
what fills up shorter sounds can change them a little where a model takes no mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from peaframe.captions.clips import OpenClip
from peaframe.captions.parts import Answer, Failure
from peaframe.clock import SAMPLE_RATE
from peaframe.errors import MissingExtraError, ModelError, OptionError
from peaframe.models.device import device_of

_SAMPLED = 256  # values of each tensor that an identity takes


class _Local:
    """A model with its tokenizer, on a device, and how long and how carefully it writes."""

    def __init__(self, kind: str, source: str | Path, device: str, tokens: int, beams: int) -> None:
        if tokens < 1 or beams < 1:
            raise OptionError(f"got {tokens} tokens and {beams} beams, expected 1 or more of each")
        self.name = str(source)
        self._device = device_of(device)
        self.model, self.tokenizer = _load(kind, source)
        self.model.to(self._device)
        # Checkpoints bring settings of their own, such as sampling; none of them is to count.
        self._how: dict[str, Any] = {"max_new_tokens": tokens, "num_beams": beams, "do_sample": False}
        self._how["pad_token_id"] = self.tokenizer.pad_token_id
        self.identity = f"{kind} {_fingerprint(self.model, self.tokenizer)} {tokens} {beams}"

    @torch.inference_mode()
    def _generate(self, **inputs: Any) -> Any:
        given = {name: value.to(self._device) for name, value in inputs.items()}
        return self.model.generate(**given, **self._how)

    def _texts(self, tokens: Any) -> list[str]:
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


class LocalSound(_Local):
    """Says what is heard: an encoder of sound with a decoder of words (Whisper, speech-encoder-decoder ...)."""

    def __init__(self, source: str | Path, device: str = "auto", tokens: int = 64, beams: int = 1) -> None:
        """Load a checkpoint.

        Args:
            source: folder or hub id.
            device: `auto`, `cpu`, `cuda` ...
            tokens: of a caption at most.
            beams: 1 takes the likeliest word each time.

        Raises:
            MissingExtraError: transformers is not installed.
            ModelError: it is no such checkpoint, or has no safetensors.
        """
        super().__init__("AutoModelForSpeechSeq2Seq", source, device, tokens, beams)
        try:
            self._features: Any = _transformers().AutoFeatureExtractor.from_pretrained(
                source, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise _unreadable(source, "AutoFeatureExtractor", error) from error

    def caption(self, clips: Sequence[OpenClip]) -> list[Answer]:
        """One caption for each clip's sound."""
        rate = self._features.sampling_rate
        sounds = [soxr.resample(clip.sound, SAMPLE_RATE, rate).astype(np.float32) for clip in clips]
        fixed = self.model.config.model_type == "whisper"  # always hears 30 s
        inputs = self._features(
            sounds,
            sampling_rate=rate,
            padding="max_length" if fixed else True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return list(self._texts(self._generate(**inputs)))


class LocalPictures(_Local):
    """Says what is seen, picture by picture (BLIP, GIT, vision-encoder-decoder ...)."""

    def __init__(self, source: str | Path, device: str = "auto", tokens: int = 32, beams: int = 1) -> None:
        """Load a checkpoint; arguments and errors as for `LocalSound`."""
        super().__init__("AutoModelForImageTextToText", source, device, tokens, beams)
        try:
            self._images: Any = _transformers().AutoImageProcessor.from_pretrained(
                source, trust_remote_code=False, backend="pil"
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise _unreadable(source, "AutoImageProcessor", error) from error

    def caption(self, clips: Sequence[OpenClip]) -> list[Answer]:
        """One caption for each clip: those of its pictures in order, the same one after itself only once."""
        counts = [len(clip.pictures) for clip in clips]
        pictures = [picture for clip in clips for picture in clip.pictures]
        inputs = self._images(pictures, return_tensors="pt", input_data_format="channels_last")
        texts = self._texts(self._generate(pixel_values=inputs["pixel_values"]))
        answers: list[Answer] = []
        for count in counts:
            own, texts = texts[:count], texts[count:]
            different = [text for i, text in enumerate(own) if text and own[i - 1 : i] != [text]]
            answers.append("; then ".join(different))
        return answers


class LocalWriter(_Local):
    """A language model (Llama, Qwen, GPT-2 ...); its chat template is used if it has one."""

    def __init__(
        self, source: str | Path, device: str = "auto", tokens: int = 128, beams: int = 1, batch: int = 8
    ) -> None:
        """Load a checkpoint; arguments and errors as for `LocalSound`, and `batch`, prompts at a time."""
        super().__init__("AutoModelForCausalLM", source, device, tokens, beams)
        if batch < 1:
            raise OptionError(f"got batches of {batch} prompts, expected 1 or more")
        self._batch, self._tokens = batch, tokens

    def write(self, prompts: Sequence[str]) -> list[Answer]:
        """Answer prompts; one that leaves no room for an answer is a failure."""
        texts = [self._chat(prompt) for prompt in prompts]
        plain = self.tokenizer.chat_template is None
        longest = getattr(self.model.config, "max_position_embeddings", None)
        lengths = [len(self.tokenizer(text, add_special_tokens=plain)["input_ids"]) for text in texts]
        answers: list[Answer] = []
        for length in lengths:
            too_long = longest is not None and length + self._tokens > longest
            answers.append(
                Failure(f"{self.name}: the prompt has {length} tokens, too many") if too_long else ""
            )
        todo = [i for i, answer in enumerate(answers) if answer == ""]
        for begin in range(0, len(todo), self._batch):
            some = todo[begin : begin + self._batch]
            inputs = self.tokenizer(
                [texts[i] for i in some], add_special_tokens=plain, padding=True, return_tensors="pt"
            )
            given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
            made = self._generate(**given)[:, given["input_ids"].shape[1] :]
            for i, text in zip(some, self._texts(made), strict=True):
                answers[i] = text
        return answers

    def _chat(self, prompt: str) -> str:
        if self.tokenizer.chat_template is None:
            return prompt + "\n"
        talk = [{"role": "user", "content": prompt}]
        text: str = self.tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        return text


def load_language_model(source: str | Path) -> tuple[Any, Any]:
    """A causal language model in float32 and its tokenizer, from a folder or hub id; errors as for `LocalSound`."""
    model, tokenizer = _load("AutoModelForCausalLM", source)
    return model.float(), tokenizer


def _load(kind: str, source: str | Path) -> tuple[Any, Any]:
    transformers = _transformers()
    # While transformers loads a model it has put another function in the place of `torch.linspace`; if PyTorch looks up
    # what makes tensors for the first time then, it keeps that one, and other models do not load after it.
    with torch.device("meta"):
        torch.empty(0)
    plain = {"trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, padding_side="left", **plain)
        model = getattr(transformers, kind).from_pretrained(source, use_safetensors=True, **plain)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise _unreadable(source, kind, error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return model.eval(), tokenizer


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            "transformers", "captions", "captioning with models on this machine"
        ) from error
    return transformers


def _unreadable(source: str | Path, kind: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:300]
    return ModelError(
        f"{source}: cannot be loaded as {kind} with safetensors ({reason}); check the folder or hub id"
    )


def _fingerprint(model: Any, tokenizer: Any) -> str:
    """Sixteen hex digits: every tensor's name, shape and first values, and the tokenizer's words and template."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().flatten()[:_SAMPLED].float().cpu().numpy().tobytes())
    digest.update(repr(sorted(tokenizer.get_vocab().items())).encode())
    digest.update(str(tokenizer.chat_template).encode())
    return digest.hexdigest()[:16]
