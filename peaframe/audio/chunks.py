"""The chunks of WAV files, found by jumping from one to the next: RIFF, RF64 and BW64, and Sony's Wave64.

Only the heads of chunks and the bodies asked for are read, the latter up to a limit, so a file of any length costs
a few kilobytes, chunks behind its sound included. Nothing here complains: a file that lies about its sizes or ends
early gives the chunks found until then.

Layouts: EBU Tech 3306 (RF64: sizes beyond 4 GiB stand in a chunk `ds64`), Sony's Wave64 (names are GUIDs of 16
bytes whose first four say the same as in RIFF; sizes of 8 bytes count the head of 24; all aligned to 8).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

__all__ = ["Chunk", "listed", "walk"]

_BODY_LIMIT = 1 << 18
_TOTAL_LIMIT = 1 << 20
_CHUNK_LIMIT = 1000
_UNKNOWN = 0xFFFFFFFF
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_WAVE = bytes.fromhex("77617665f3acd3118cd100c04f8edb8a")
_KNOWN = {
    b"LIST",
    b"data",
    b"fmt ",
    b"bext",
    b"guan",
    b"wamd",
    b"fact",
    b"junk",
    b"JUNK",
    b"iXML",
    b"cue ",
    b"id3 ",
    b"PAD ",
}
_Place: TypeAlias = tuple[bytes, int, int]  # name, where its body begins, how many bytes of it there are


@dataclass(frozen=True)
class Chunk:
    """One chunk.

    Attributes:
        name: Its four characters, such as `b"data"`; of Wave64 the first four bytes of the GUID.
        size: Bytes in its body that are there, at most what it claims.
        body: Its body if it was asked for, at most 256 KiB of it (of all bodies, 1 MiB); else empty.
    """

    name: bytes
    size: int
    body: bytes = b""


def walk(file: BinaryIO, wanted: Collection[bytes]) -> Iterator[Chunk]:
    """The chunks of an open file in their order, with the bodies of those named in `wanted`.

    A body that claims more than the file has ends with it. A `data` chunk of RIFF whose size is 0 or 0xFFFFFFFF, as
    writers leave it that could not go back, is taken to last to the end of the file if it cannot be a true one. A
    body of odd length is followed by a byte of padding, which writers forget: both are understood. At most 1 000
    chunks are looked at.
    """
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(40)
    if head[:16] == _W64_RIFF and head[24:40] == _W64_WAVE:
        places = _walk_wave64(file, end)
    elif head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        places = _walk_riff(file, end)
    else:
        return
    left = _TOTAL_LIMIT
    for name, at, size in places:
        body = b""
        if name in wanted:
            file.seek(at)
            body = file.read(min(size, _BODY_LIMIT, left))
            left -= len(body)
        yield Chunk(name, size, body)


def listed(body: bytes) -> dict[str, str]:
    """The texts in a `LIST` chunk of kind `INFO`, by name: `{"ICMT": "Recorded at ..."}`; empty for other kinds.

    The first of a name counts. Texts end at their first NUL; what is not UTF-8 is read as Latin-1.
    """
    texts: dict[str, str] = {}
    at = 4
    while body[:4] == b"INFO" and at + 8 <= len(body):
        name, size = struct.unpack_from("<4sI", body, at)
        raw = body[at + 8 : at + 8 + size].split(b"\0")[0]
        texts.setdefault(name.decode("latin-1"), decoded(raw).strip())
        at = _next_even(body, at + 8, size)
    return texts


def decoded(raw: bytes) -> str:
    """Bytes as text: UTF-8, or Latin-1 where they are not."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _walk_riff(file: BinaryIO, end: int) -> Iterator[_Place]:
    large: dict[bytes, int] = {}
    at = 12
    for _ in range(_CHUNK_LIMIT):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or not _is_name(head[:4]):
            return
        name, size = struct.unpack("<4sI", head)
        if name == b"ds64":
            large = _large_sizes(file.read(min(size, _BODY_LIMIT)))
        elif size == _UNKNOWN and name in large:
            size = large[name]
        elif name == b"data" and size == 0 and not _starts_here(file, at + 8, end):
            size = end - at - 8
        there = max(0, min(size, end - at - 8))
        yield name, at + 8, there
        if there < size:
            return
        at += 8 + size
        if size % 2 and (not _starts_here(file, at, end) or _starts_here(file, at + 1, end, known=True)):
            at += 1


def _walk_wave64(file: BinaryIO, end: int) -> Iterator[_Place]:
    at = 40
    for _ in range(_CHUNK_LIMIT):
        file.seek(at)
        head = file.read(24)
        if len(head) < 24 or not _is_name(head[:4]):
            return
        (size,) = struct.unpack_from("<Q", head, 16)
        if size < 24:
            return
        name = b"LIST" if head[:4] == b"list" else head[:4]
        yield name, at + 24, max(0, min(size, end - at) - 24)
        if at + size > end:
            return
        at += -(-size // 8) * 8


def _large_sizes(body: bytes) -> dict[bytes, int]:
    """What `ds64` says: the sizes that do not fit into 4 bytes, by chunk."""
    if len(body) < 28:
        return {}
    _, data, _, count = struct.unpack_from("<QQQI", body)
    sizes = {b"data": data}
    for number in range(min(count, (len(body) - 28) // 12)):
        name, size = struct.unpack_from("<4sQ", body, 28 + 12 * number)
        sizes[name] = size
    return sizes


def _starts_here(file: BinaryIO, at: int, end: int, *, known: bool = False) -> bool:
    """Whether a chunk may begin here: a name of printable letters (or one of the `known`), a size that fits."""
    if at + 8 > end:
        return at == end
    file.seek(at)
    name, size = struct.unpack("<4sI", file.read(8))
    return (name in _KNOWN if known else _is_name(name)) and at + 8 + size <= end


def _is_name(name: bytes) -> bool:
    return all(32 < letter < 127 or (letter == 32 and place) for place, letter in enumerate(name))


def _next_even(body: bytes, at: int, size: int) -> int:
    """Where the next text of a list begins, behind one of `size` bytes at `at`, padded or not."""
    after = at + size
    padded = size % 2 and not (after + 4 <= len(body) and _is_name(body[after : after + 4]))
    return after + 1 if padded else after
