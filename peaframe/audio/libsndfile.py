"""WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF, RF64, W64, CAF, AU ... through libsndfile.

One rule decides what is damaged: a file that contradicts itself is cut, a file that never said how long it is
is read to its end (by PyAV where libsndfile would stop at a guess: MP3 without a header, FLAC from a pipe).

- A header that promises more than is there (FLAC, MP3 with a Xing header, WAV, AIFF, AU, RF64, W64): cut.
- A WAV whose length is a stand-in (0, or close to 2^31 or 2^32: a recorder that was never stopped
  properly, or a pipe): everything up to the end of the file is the recording.
- A WAV whose header names a shorter length than the file's: the header is believed, the rest is no sound.
- An Ogg file that ends inside a page: cut. One that ends with a page that is not marked as last: a live
  stream that was saved, read to its end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import soundfile

from peaframe.audio.source import AudioInfo, Samples, Source, mix_down
from peaframe.errors import AudioError

_CHUNK_SAMPLES = 1 << 14  # of all channels together; what a damaged file loses before the damage
_UNKNOWN_FRAMES = 1 << 62
_MALFORMED = 3  # SF_ERR_MALFORMED_FILE: a known container whose insides make no sense
_HEADER_SLACK_SECONDS = 0.1  # some writers count a few header bytes as sound
_MP3_SLACK_SECONDS = 0.1  # encoders count their first, empty frame or do not
_MP3_HEADERS = (b"Xing", b"Info", b"VBRI")
_NEAR_BYTES = 1 << 16
_OGG_PAGE_BYTES = 65_307  # the largest page there can be
_SHORTER = re.compile(r"(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)")


class _Straight(soundfile.SoundFile):  # type: ignore[misc]
    """Reads on without jumps: soundfile seeks after every read if it may, and MP3 decoders click at that."""

    def seekable(self) -> bool:
        return False


def _name(path: Path) -> bytes | str:
    """What libsndfile opens: bytes where names are bytes, which need not be text."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def open_source(path: Path) -> Source | None:
    """Open a recording with libsndfile; None where it is not a file for libsndfile.

    Raises:
        AudioError: the file is of a kind libsndfile knows, but malformed or without samples.
    """
    try:
        with soundfile.SoundFile(_name(path)) as file:
            frames, rate, channels = file.frames, file.samplerate, file.channels
            container, coding, log = file.format, file.subtype, file.extra_info
    except soundfile.LibsndfileError as error:
        if error.code == _MALFORMED:
            raise AudioError(f"{path}: is damaged ({error.error_string}); get a whole copy") from error
        return None
    except TypeError:  # a suffix that means samples without any header
        return None
    if frames >= _UNKNOWN_FRAMES or (container == "MP3" and not _mp3_says_its_length(path)):
        return None
    if frames == 0:
        if container == "WAV" and _length_never_written(path):
            return None
        raise AudioError(f"{path}: holds no samples; give a recording with sound")
    promised = _promised_frames(log, frames)
    duration = (promised if promised - frames > _HEADER_SLACK_SECONDS * rate else frames) / rate
    return Source(
        info=AudioInfo(path, duration, rate, channels, f"{container}/{coding}".lower()),
        chunks=lambda first: _chunks(path, first),
        slack=_MP3_SLACK_SECONDS if container == "MP3" else 0.0,
        whole=container != "OGG" or not _ogg_is_cut(path),
    )


def _chunks(path: Path, first: int) -> Iterator[Samples]:
    try:
        with _Straight(_name(path)) as file:
            if first:
                file.seek(first)
            size = max(1, _CHUNK_SAMPLES // file.channels)
            while True:
                part = file.read(size, dtype="float32", always_2d=True)
                if len(part):
                    yield mix_down(part)
                if len(part) < size:
                    return
    except soundfile.LibsndfileError:
        return


def _promised_frames(log: str, frames: int) -> int:
    """How many frames the header claims, from libsndfile's log of what it found wrong with the file."""
    promised = frames
    for claimed, actual in ((int(a), int(b)) for a, b in _SHORTER.findall(log)):
        near = any(abs(claimed - (1 << bits)) < _NEAR_BYTES for bits in (31, 32))
        stand_in = near or claimed >= 1 << 62
        if actual and claimed > actual and not stand_in:
            promised = max(promised, claimed * frames // actual)
    return promised


def _length_never_written(path: Path) -> bool:
    """Whether a WAV file without samples goes on after the end its first header names."""
    with path.open("rb") as file:
        riff_bytes = int.from_bytes(file.read(8)[4:], "little")
    return riff_bytes == 0xFFFF_FFFF or riff_bytes + 8 < path.stat().st_size


def _mp3_says_its_length(path: Path) -> bool:
    """Whether the first frame of an MP3 file tells how many there are."""
    with path.open("rb") as file:
        tag = file.read(10)
        if tag.startswith(b"ID3") and len(tag) == 10:  # its size has 7 bits a byte
            file.seek(10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        head = file.read(4096)
    return any(name in head for name in _MP3_HEADERS)


def _ogg_is_cut(path: Path) -> bool:
    """Whether the last page of an Ogg file is longer than the file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _OGG_PAGE_BYTES))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if not page.startswith(b"OggS") or len(page) < 27:
        return True
    segments = page[27 : 27 + page[26]]
    return len(segments) < page[26] or 27 + len(segments) + sum(segments) > len(page)
