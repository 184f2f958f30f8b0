"""Soundscapes written out as a folder, from sounds that are decoded when they are drawn.

    audio/scene_00000.wav ...   what is heard (or .flac), 48 kHz, 16 bit
    jams/scene_00000.jams ...   what is heard when, and in the sandbox which clips were mixed in
    ground_truth.tsv            all events: filename onset offset event_label
    durations.tsv               filename duration
    LICENSES.tsv                the clips that were mixed in, where a licence of any is known
    mix.json                    how it was made, so that the same order goes on where it stopped

Every file appears whole or not at all; a scene is done once its .jams is there. The tables come last.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe import audio, formats
from peaframe.clock import SAMPLE_RATE, frames_of_seconds, seconds_of_samples
from peaframe.data.mix import MixConfig, Mixer, Scene
from peaframe.data.soundbank import Bank, Clip
from peaframe.errors import FormatError, ManifestError, OptionError
from peaframe.events import Event
from peaframe.files import atomic_path
from peaframe.formats import delimited

TRUTH, DURATIONS, LICENSES, SETTINGS = "ground_truth.tsv", "durations.tsv", "LICENSES.tsv", "mix.json"
LICENSE_COLUMNS = ("clip", "label", "source", "license")
WHISPER = Clip(Path(), "", (), "background", "white noise", "", "train")
"""A background for those who have none: white noise, without a label."""

_KEPT_SAMPLES = 64_000_000  # of decoded clips, 256 MB
_WHISPER_SECONDS = 60


class FolderBank(Bank):
    """Clips that are decoded when they are drawn; the latest ones are kept in memory.

    Attributes:
        used: the clips that were drawn, by number; whoever wants to know of one scene clears it before.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        """Hold `clips` at 48 kHz, none of them decoded yet."""
        self.clips = list(clips)
        self.rate = SAMPLE_RATE
        self.used: set[int] = set()
        self._kept: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def waveform(self, index: int) -> NDArray[np.float32]:
        """Clip `index` as float32 (samples,).

        Raises:
            AudioError: it cannot be read.
            ManifestError: nothing is heard in it.
        """
        self.used.add(index)
        clip = self.clips[index]
        if index not in self._kept:
            x = _whisper() if clip is WHISPER else audio.read(clip.path)
            if not np.abs(x).max() > 0:
                raise ManifestError(f"{clip.path}: is silent, expected a sound; take it out of the folder")
            self._kept[index] = x
        self._kept.move_to_end(index)
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > _KEPT_SAMPLES:
            self._kept.popitem(last=False)
        return self._kept[index]


def labelled(folder: Path, files: Iterable[Path], role: str, *, loose: bool = False) -> list[Clip]:
    """Clips of a plain folder that has one folder for each label.

    Args:
        folder: what the labels' folders are in.
        files: the audio files below it.
        role: `event` or `background`.
        loose: whether files that lie in `folder` itself are clips without a label.

    Returns:
        The clips by path; their licences and sources are not known. A folder inside a label's belongs to it.

    Raises:
        ManifestError: a file lies in no label's folder, and `loose` is False.
    """
    clips = []
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        parts = path.relative_to(folder).parts
        if len(parts) < 2 and not loose:
            raise ManifestError(f"{path}: is in no label's folder; expected {folder}/LABEL/{path.name}")
        clips.append(Clip(path, parts[0] if len(parts) > 1 else "", (), role, "", "", "train"))
    return clips


def write_flac(path: Path, waveform: NDArray[np.float32]) -> None:
    """Write 48 kHz mono sound (samples,) as 16 bit FLAC, whole or not at all."""
    pcm = np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)
    with atomic_path(path) as temp, temp.open("wb") as file:
        soundfile.write(file, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a tab-separated table, whole or not at all."""
    with atomic_path(path) as temp:
        temp.write_text("".join(delimited.line(row, "\t") for row in rows), encoding="utf-8", newline="\n")


def write_truth(folder: Path, truth: Mapping[str, list[Event]], samples: Mapping[str, int]) -> None:
    """Write `ground_truth.tsv` and `durations.tsv`.

    Args:
        folder: where they go.
        truth: the events of each recording.
        samples: the length of each recording at 48 kHz.
    """
    formats.save(folder / TRUTH, truth)
    durations = [(name, f"{seconds_of_samples(count):.3f}") for name, count in samples.items()]
    write_table(folder / DURATIONS, [("filename", "duration"), *durations])


def named_events(scene: Scene) -> list[Event]:
    """The events of a scene whose sources have a label; a background without one is no event."""
    named = [i for i, label in enumerate(scene.labels) if label]
    return Scene(scene.waveform, [scene.labels[i] for i in named], scene.states[:, named]).events()


def fingerprint(clips: Mapping[str, Clip]) -> str:
    """What clips are, by name, as one number: role, label, and the bytes of each file; with a progress bar.

    Raises:
        AudioError: a file is missing, or is no sound.
        FormatError: a file cannot be read.
        ManifestError: an event has no label.
    """
    whole = hashlib.sha256()
    for name, clip in tqdm(clips.items(), desc="look at sounds", unit="clip", disable=None):
        content = b""
        if clip.role == "event" and not clip.label.strip():
            raise ManifestError(f"{clip.path}: has no label; name what is heard in it")
        if clip is not WHISPER:
            audio.probe(clip.path)
            try:
                with clip.path.open("rb") as file:
                    own = hashlib.sha256()
                    while piece := file.read(1 << 20):
                        own.update(piece)
                content = own.digest()
            except OSError as error:
                raise FormatError(f"{clip.path}: cannot be read ({error.strerror or error})") from error
        whole.update(json.dumps([clip.role, clip.label, name]).encode() + content)
    return whole.hexdigest()


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder, or take up one that the same settings began.

    Raises:
        OptionError: it holds other things, or soundscapes of other settings.
        FormatError: it cannot be made or written.
    """
    path = out / SETTINGS
    try:
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
        elif out.exists() and (not out.is_dir() or any(not _unfinished(own) for own in out.iterdir())):
            raise OptionError(f"{out}: holds other things, expected a new or empty folder")
        else:
            found = None
            for name in ("audio", "jams"):
                (out / name).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"{out}: cannot be made or read ({reason}); give another folder") from error
    if found is None:
        with atomic_path(path) as temp:
            temp.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8", newline="\n")
    elif found != json.loads(json.dumps(settings)):
        other = found if isinstance(found, dict) else {}
        names = [name for name in settings if other.get(name) != json.loads(json.dumps(settings[name]))]
        raise OptionError(
            f"{out}: holds soundscapes made with other {', '.join(names) or 'settings'}; give a new folder"
        )


def write_scenes(
    out: Path,
    clips: Mapping[str, Clip],
    config: MixConfig,
    *,
    scenes: int,
    seconds: float,
    seed: int,
    suffix: str = ".wav",
) -> tuple[dict[str, list[Event]], list[str]]:
    """Mix what a claimed folder still lacks, with a progress bar, then write the tables.

    Args:
        out: a folder that `claim` made.
        clips: the clips by the name they have in `LICENSES.tsv`, in a fixed order.
        config: what the soundscapes are like.
        scenes: how many; scene `i` depends on clips, config, seed, seconds and `i` alone.
        seconds: length of each; a whole number of frames is made of it.
        seed: another one makes other soundscapes.
        suffix: `.wav` or `.flac`.

    Returns:
        The events of each recording, and the names of the clips that were mixed in, in the order of `clips`.

    Raises:
        ManifestError: no events or no backgrounds, or a silent clip.
        AudioError: a clip cannot be read.
        FormatError: a file cannot be written.
    """
    bank, names = FolderBank(list(clips.values())), list(clips)
    mixer = Mixer(bank, config, seed)
    samples = frames_of_seconds(seconds) * mixer.hop
    write = write_flac if suffix == ".flac" else audio.write_wav
    truth: dict[str, list[Event]] = {}
    mixed: set[str] = set()
    for i in tqdm(range(scenes), desc="mix", unit="scene", disable=None):
        name = f"scene_{i:05}{suffix}"
        sheet = out / "jams" / f"scene_{i:05}.jams"
        if not (sheet.is_file() and (out / "audio" / name).is_file()):
            bank.used.clear()
            scene = mixer.scene(i, seconds)
            write(out / "audio" / name, scene.waveform)
            drawn = [names[index] for index in sorted(bank.used) if bank.clips[index] is not WHISPER]
            meta = {"durations": {name: seconds_of_samples(samples)}, "clips": drawn}
            formats.save(sheet, {name: named_events(scene)}, meta=meta)
        truth[name] = formats.load(sheet).get(name, [])
        mixed.update(_drawn(sheet))
    used = [name for name in names if name in mixed]
    if any(clips[name].license for name in used):
        rows = [(name, clips[name].label, clips[name].source, clips[name].license) for name in used]
        write_table(out / LICENSES, [LICENSE_COLUMNS, *rows])
    write_truth(out, truth, dict.fromkeys(truth, samples))
    return truth, used


def _drawn(sheet: Path) -> list[str]:
    """The names of the clips that a scene was mixed from, as its .jams says."""
    try:
        names = json.loads(sheet.read_text(encoding="utf-8"))["sandbox"]["peaframe"]["clips"]
    except (KeyError, TypeError) as error:
        raise FormatError(
            f"{sheet}: does not say which clips were mixed; remove it to make it anew"
        ) from error
    return [str(name) for name in names]


def _unfinished(path: Path) -> bool:
    """Whether a file of a fresh folder is what a start that was killed leaves behind."""
    if path.is_dir():
        return path.name in ("audio", "jams") and not any(path.iterdir())
    return path.suffix == ".json" and path.name.startswith(".") and len(path.stem) == 13


def _whisper() -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    noise: NDArray[np.float32] = 0.01 * random.standard_normal(_WHISPER_SECONDS * SAMPLE_RATE, np.float32)
    return noise
