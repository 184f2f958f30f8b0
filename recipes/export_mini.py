"""Put a trained mini model where the package ships it: half precision, event options beside it.

python -m peaframe.recipes.export_mini runs/mini peaframe/models/mini
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from peaframe.errors import ModelError
from peaframe.models.checkpoint import write_text
from peaframe.models.frame import MiniFrameModel
from peaframe.models.load import load_model, save_model
from peaframe.recipes import program


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, load, save."""
    parser = program.parser(__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("folder", type=Path, help="where to put the checkpoint")
    args = parser.parse_args(arguments)
    model = load_model(args.run)
    if not isinstance(model, MiniFrameModel):
        raise ModelError(f"{args.run}: got a {type(model).__name__}, expected a mini model")
    tokenizer = json.loads((args.run / "tokenizer.json").read_text(encoding="utf-8"))
    save_model(model, args.folder, tokenizer, torch.float16)
    options = json.dumps(dataclasses.asdict(model.event_options), indent=2)
    write_text(args.folder / "events.json", options + "\n")
    size = (args.folder / "model.safetensors").stat().st_size / 1e6
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{args.folder}: {parameters:.1f} M parameters, {size:.1f} MB, {model.event_options}")


if __name__ == "__main__":
    program.run(main)
