"""`peaframe models`: what `--model` can be; fetch a public checkpoint, convert one to the other layout."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

from peaframe.cli.output import print_text, table
from peaframe.errors import OptionError
from peaframe.files import atomic_path
from peaframe.models.names import MODELS, ModelName

HELP = "list the models that can be loaded by name, download one, or convert a checkpoint"
EXAMPLES = """examples:
  peaframe models
  peaframe models download pe-a-frame-base
  peaframe models convert runs/mine converted --to original
  peaframe detect street.wav "dog barking" --model pe-a-frame-base"""
LAYOUTS = ("transformers", "original")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `download` and `convert`; without either, the models are listed."""
    parser.add_argument("--json", action="store_true", help="print the list for machines")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    download = actions.add_parser("download", help="fetch a model into the hub's cache", allow_abbrev=False)
    download.add_argument("model", help="a name of the list, or owner/name[@revision] on the hub")
    convert = actions.add_parser(
        "convert", help="rewrite a published checkpoint in the other layout", allow_abbrev=False
    )
    convert.add_argument("source", help="a name or a checkpoint folder")
    convert.add_argument("folder", type=Path, help="where to put the new one; made if it does not exist")
    convert.add_argument("--to", choices=LAYOUTS, default=LAYOUTS[0], help="layout (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """List, download or convert."""
    if args.action == "download":
        _download(args.model)
    elif args.action == "convert":
        _convert(args.source, args.folder, args.to)
    elif args.json:
        plain = [{**dataclasses.asdict(m), "folder": m.folder and str(m.folder)} for m in MODELS.values()]
        print_text(json.dumps(plain, indent=2) + "\n")
    else:
        _list()


def _list() -> None:
    header = ("name", "parameters", "download", "licence", "here", "description")
    rows = [
        (
            m.name,
            "" if m.parameters is None else f"{m.parameters:g} M",
            "" if m.gigabytes is None else f"{m.gigabytes:.1f} GB",
            m.licence,
            "yes" if _is_here(m) else "no",
            m.description,
        )
        for m in MODELS.values()
    ]
    print_text(table(header, rows, right={"parameters", "download"}))


def _is_here(model: ModelName) -> bool:
    from peaframe.models import hub

    return model.hub_id is None or hub.cached(model.hub_id, model.revision) is not None


def _download(name: str) -> None:
    from peaframe.models import hub
    from peaframe.models.load import hub_address

    print_text(f"{name}: {hub.fetch(*hub_address(name, or_folder=False))}\n")


def _convert(source: str, folder: Path, layout: str) -> None:
    from peaframe.models import checkpoint
    from peaframe.models.load import BESIDE, find, read_pe, save_pe
    from peaframe.models.published import layout_of

    origin, name = find(source)
    values = checkpoint.read_values(origin)
    own = layout_of(values)
    if own is None:
        raise OptionError(f"{origin}: no published PE checkpoint, only those have another layout")
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise OptionError(
            f"{folder}: cannot be read ({error.strerror or error}); give another folder"
        ) from error
    if taken:
        raise OptionError(f"{folder}: is there already, expected a new or empty folder")
    tokenizer = origin / "tokenizer.json"
    words = tokenizer.read_text(encoding="utf-8") if tokenizer.is_file() else None
    save_pe(read_pe(origin, values, name), folder, layout, words)
    for beside in BESIDE:  # of what was fine-tuned, the same in any layout
        if (origin / beside).is_file():
            with atomic_path(folder / beside) as part:
                shutil.copyfile(origin / beside, part)
    if own == layout:
        print_text(f"{folder}: a copy of {source}, which is in the layout of {layout} already\n")
    else:
        print_text(f"{folder}: {source} in the layout of {layout} (it was in that of {own})\n")
