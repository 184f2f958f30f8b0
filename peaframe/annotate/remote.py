"""Recordings by URL: `https://`, `s3://`, `gs://`, `zip://inside.wav::archive.zip` and all else fsspec knows.

Nothing is asked of the network but for the URLs that the user named. URLs may hold secrets (`?signature=...`,
`user:password@`), so no message shows more of one than `shown` leaves.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import errno
import io
import os
import re
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import soundfile

from peaframe import audio
from peaframe.annotate.urls import file_name, is_url, is_web, local, parts, scrubbed, shown, unquoted
from peaframe.audio import AudioInfo
from peaframe.errors import AudioError, MissingExtraError, OptionError, PeaframeError

__all__ = ["Head", "head", "is_folder", "is_url", "listing", "local", "opened", "probe", "shown"]

PAUSE_SECONDS = 2.0
_QUIET_SECONDS = 60.0  # a server that says nothing for so long is gone
_PROBE_BYTES = 1 << 16
_LASTING = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    ImportError,
    ValueError,
    zipfile.BadZipFile,
)
_LENGTH_IN_HEADER = ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "W64", "RF64", "CAF", "OGG")
_MODIFIED = (
    "Last-Modified",
    "LastModified",
    "last_modified",
    "mtime",
    "updated",
    "modified",
    "created",
    "date_time",
)
_TAGS = ("ETag", "etag", "Content-MD5", "md5Hash", "CRC")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Head:
    """What tells whether a file is still the same.

    Attributes:
        size: in bytes; None where the server does not say.
        mtime_ns: when it was modified, in nanoseconds since 1970; None where nobody says.
        tag: the server's own mark of the content; empty where there is none.
        data: its first bytes.
    """

    size: int | None
    mtime_ns: int | None
    tag: str
    data: bytes


def is_folder(url: str) -> bool:
    """Whether a URL is a folder; on the web, whether it ends with `/`, for there is no other way to tell.

    Raises:
        OptionError: there is nothing there, or it cannot be asked.
        MissingExtraError: fsspec is not installed.
    """
    if is_web(url):
        return parts(shown(url))[1].endswith("/")
    with _said(url, OptionError):
        filesystem, path = _filesystem(url)
        return bool(filesystem.info(path)["type"] == "directory")


def listing(url: str, pause: Callable[[float], None] = time.sleep) -> Iterator[tuple[str, str, bool]]:
    """What lies in a folder: (name, URL, whether it is a folder); on the web, what the folder's page links to.

    Raises:
        OptionError: it cannot be listed.
        MissingExtraError: fsspec is not installed.
    """
    web, (before, own, after) = is_web(url), parts(url)
    own = own.partition("?")[0].rstrip("/") if web else own
    joint = "" if own.endswith("/") else "/"

    def listed() -> list[Any]:
        filesystem, path = _filesystem(url)
        found: list[Any] = filesystem.ls(path, detail=True)
        filesystem.invalidate_cache()  # a listing of a large bucket would stay in memory
        return [entry for entry in found if entry["name"].rstrip("/") != path.rstrip("/")]

    with _said(url, OptionError):
        entries = _twice(listed, pause)
    for entry in entries:
        folder = entry["type"] == "directory"
        above, _, piece = entry["name"].rstrip("/").rpartition("/")
        if not piece or (
            web and (above.partition("://")[2] != own.partition("://")[2] or "?" in piece or "#" in piece)
        ):
            continue
        yield (
            unquoted(piece) if web else piece,
            f"{before}{own}{joint}{piece}{'/' * (web and folder)}{after}",
            folder,
        )


def head(url: str, count: int, pause: Callable[[float], None] = time.sleep) -> Head:
    """Look at the first `count` bytes of a file.

    Raises:
        AudioError: it is not there, or cannot be read.
        MissingExtraError: fsspec is not installed.
    """

    def looked() -> Head:
        filesystem, path = _filesystem(url)
        filesystem.invalidate_cache()
        info = filesystem.info(path)
        if info["type"] == "directory" or (is_web(url) and path.endswith("/")):
            raise AudioError(f"{shown(url)}: is a folder; give a recording")
        with filesystem.open(path, "rb", block_size=count, cache_type="none") as file:
            data = file.read(count)
        tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
        return Head(info.get("size"), modified_ns(info), tag, data)

    with _said(url, AudioError):
        return _twice(looked, pause)


@contextmanager
def opened(
    path: str, folder: str | os.PathLike[str] | None = None, pause: Callable[[float], None] = time.sleep
) -> Iterator[Path]:
    """Give a local file to read a recording from: itself, or for as long as the block lasts a copy of what a URL names.

    The copy has the name and the time of the original, as far as they are known. A failed fetch is tried once again.

    Args:
        path: a local path or a URL.
        folder: where copies lie, each in a folder of its own; None for the system's place of temporary files.
        pause: called with seconds to wait before the second try.

    Raises:
        AudioError: it cannot be fetched; those of the block name the URL.
        MissingExtraError: fsspec is not installed.
    """
    if not is_url(path):
        yield Path(local(path))
        return
    with tempfile.TemporaryDirectory(prefix="peaframe-", dir=folder) as own:
        target = Path(own) / file_name(path)
        with _said(path, AudioError):
            _twice(lambda: _fetch(path, target), pause)
        try:
            yield target
        except AudioError as error:
            raise AudioError(str(error).replace(str(target), shown(path))) from error


def probe(
    path: str, folder: str | os.PathLike[str] | None = None, pause: Callable[[float], None] = time.sleep
) -> AudioInfo:
    """What a recording says about itself; of WAV, FLAC, Ogg and the like on the web, only a few blocks are fetched.

    Other containers, and files that contradict themselves, are fetched whole and thrown away. `AudioInfo.path` of a
    URL is what `shown` leaves of it.

    Raises:
        AudioError: it cannot be fetched, or holds no sound that can be read.
        MissingExtraError: fsspec is not installed.
    """
    if not is_url(path):
        return audio.probe(local(path))
    info = _probe_blocks(path)
    if info is None:
        with opened(path, folder, pause) as copy:
            info = audio.probe(copy)
    return replace(info, path=Path(shown(path)))


class _Guarded(io.RawIOBase):
    """A file for libsndfile: what goes wrong inside its callbacks would be printed, and lost."""

    def __init__(self, file: Any) -> None:
        self._file, self.failed = file, False

    def _try(self, act: Callable[[], Result], instead: Result) -> Result:
        try:
            return instead if self.failed else act()
        except Exception:
            self.failed = True
            return instead

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._try(lambda: int(self._file.seek(offset, whence)), 0)

    def tell(self) -> int:
        return self._try(lambda: int(self._file.tell()), 0)

    def readinto(self, buffer: Any) -> int:
        data = self._try(lambda: bytes(self._file.read(len(buffer))), b"")
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        return 0


def _probe_blocks(url: str) -> AudioInfo | None:
    """Facts from a file's header, fetched by range; None where that is not possible or not to be trusted."""
    try:
        filesystem, path = _filesystem(url)
        with filesystem.open(path, "rb", block_size=_PROBE_BYTES) as file:
            guarded = _Guarded(file)
            with soundfile.SoundFile(guarded) as sound:
                frames, rate, channels = sound.frames, sound.samplerate, sound.channels
                container, coding, log = sound.format, sound.subtype, sound.extra_info
    except MissingExtraError:
        raise
    except Exception:  # fetching it whole tells what is wrong
        return None
    doubtful = container not in _LENGTH_IN_HEADER or "should be" in log or not 0 < frames < 1 << 62
    if guarded.failed or doubtful:
        return None
    return AudioInfo(Path(url), frames / rate, rate, channels, f"{container}/{coding}".lower())


def _filesystem(url: str) -> tuple[Any, str]:
    """Fsspec's filesystem for a URL, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("fsspec", "remote", "reading recordings by URL") from error
    options: dict[str, Any] = {}
    schemes = {piece.partition("://")[0].lower() for piece in url.split("::")} & {"http", "https"}
    if schemes:
        import aiohttp

        # by default a whole file must come within five minutes
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_QUIET_SECONDS, sock_read=_QUIET_SECONDS)
        options = {scheme: {"client_kwargs": {"timeout": limits}} for scheme in schemes}
    filesystem, path = fsspec.core.url_to_fs(url, **options)
    return filesystem, path


def _fetch(url: str, target: Path) -> None:
    filesystem, path = _filesystem(url)
    filesystem.get_file(path, str(target))
    try:
        info = filesystem.info(path)
    except Exception:  # servers may hand out files and refuse to talk about them
        info = {}
    size, modified = info.get("size"), modified_ns(info)
    if size is not None and target.stat().st_size != size:
        raise ConnectionError(f"got {target.stat().st_size} of {size} bytes")
    os.utime(
        target, ns=(modified or 0, modified or 0)
    )  # not now, which might be taken for when it was recorded


def modified_ns(info: Any) -> int | None:
    """When a file was modified, in nanoseconds since 1970, from what its filesystem says about it."""
    said = next((info[key] for key in _MODIFIED if info.get(key)), None)
    try:
        if isinstance(said, str):
            iso = re.sub("Z$", "+00:00", said)  # Python 3.10 does not know Z
            said = email.utils.parsedate_to_datetime(said) if "," in said else dt.datetime.fromisoformat(iso)
        elif isinstance(said, (tuple, list)):
            said = dt.datetime(*said)
        if isinstance(said, dt.datetime):
            said = (said if said.tzinfo else said.replace(tzinfo=dt.timezone.utc)).timestamp()
        return None if said is None else round(said * 1_000) * 1_000_000
    except (TypeError, ValueError, OverflowError):
        return None


def _twice(act: Callable[[], Result], pause: Callable[[float], None]) -> Result:
    """Act, and once more after a pause where it failed for a reason that may pass."""
    try:
        return act()
    except PeaframeError:
        raise
    except Exception as error:
        status = _status(error)
        refused = status is not None and 400 <= status < 500 and status not in (408, 429)
        if (
            refused
            or (status is None and isinstance(error, _LASTING))
            or getattr(error, "errno", None) in _DISK_FULL
        ):
            raise
    pause(PAUSE_SECONDS)
    return act()


def _status(error: BaseException) -> int | None:
    """What an HTTP server answered; fsspec takes any answer to be that the file is missing."""
    for each in (error, error.__cause__):
        status = getattr(each, "status", None)
        if isinstance(status, int):
            return status
    return None


@contextmanager
def _said(url: str, kind: type[PeaframeError]) -> Iterator[None]:
    """Make one line without secrets of whatever fsspec and its filesystems raise."""
    try:
        yield
    except PeaframeError:
        raise
    except Exception as error:
        status = _status(error)
        if isinstance(error, FileNotFoundError) and status in (None, 404):
            raise kind(f"{shown(url)}: there is no such file; check the URL") from None
        if status is not None:
            reason, hint = (
                f"the server answered {status}",
                "check the URL and your rights, or try again later",
            )
        elif isinstance(error, (ImportError, ValueError, zipfile.BadZipFile)):
            reason, hint = scrubbed(error), "check the URL, or install what it needs"
        elif getattr(error, "errno", None) in _DISK_FULL:
            reason, hint = "the disk for temporary files is full", "make room, or set TMPDIR to another disk"
        else:
            reason, hint = f"{type(error).__name__}: {scrubbed(error)}", "check the connection and try again"
        raise kind(f"{shown(url)}: cannot be read ({reason}); {hint}") from None
