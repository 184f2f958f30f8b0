"""Where recordings come from: folders, files, globs, lists of files, and URLs; and how to tell that one has changed.

Without `--include`, the files of a folder that are taken are those with one of `SUFFIXES`, and so it is with a glob
that leaves the suffix open (`rec/**`); of a glob such as `rec/**/*.raw` every match is. Files that are named, one by
one or in a list, are always taken. Globs and `--include` do not tell `.wav` from `.WAV`. Hidden files and folders
(`._x.wav` of macOS, `.Trash`) are left out unless they are named; so are links to a folder that they lie in.

What cannot be read is not passed over in silence: a folder that refuses to be listed and a link to nothing come out
like recordings, for `fingerprint` to say what is wrong with them.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

from peaframe.annotate import remote, urls
from peaframe.annotate.globs import regex
from peaframe.annotate.walking import HIDDEN, walk
from peaframe.errors import AudioError, OptionError

# fmt: off
SUFFIXES = (
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".avi", ".caf", ".flac", ".m4a", ".m4b",
    ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpeg", ".mpg", ".oga", ".ogg", ".ogv", ".opus", ".rf64",
    ".snd", ".spx", ".tta", ".w64", ".wav", ".wave", ".webm", ".wma", ".wmv", ".wv",
)
# fmt: on
HEAD_BYTES = 4_096  # 20 microseconds a file; 64 KiB take 130
_MAGIC = re.compile(r"[*?\[]")
_COUNTED = 10_000


@dataclass(frozen=True)
class Fingerprint:
    """What tells that a recording is still the same: equal fingerprints, the same recording.

    Attributes:
        size: in bytes; None where a server does not say.
        mtime_ns: when it was modified, in nanoseconds since 1970; None where a server does not say.
        head: a hash of its first 4 KiB, 16 hexadecimal digits; of a URL without a time, also of the server's own mark.
    """

    size: int | None
    mtime_ns: int | None
    head: str


@dataclass(frozen=True)
class _Tree:
    """A folder to be walked, and what to take from it."""

    given: str
    top: str
    parts: tuple[str, ...]
    glob: tuple[str, ...] = ()
    recursive: bool = True

    def enters(self, folder: str) -> bool:
        """Whether anything below a folder, named from the top, can be wanted."""
        if not self.glob:
            return self.recursive
        names = folder.split("/")
        lead = self.glob[: self.glob.index("**")] if "**" in self.glob else self.glob[:-1]
        fits = all(regex((part,)).fullmatch(name) for part, name in zip(lead, names))  # noqa: B905
        return fits and (len(names) <= len(lead) or "**" in self.glob)

    def takes(self, name: str, prefix: str, include: Sequence[str]) -> bool:
        """Whether a file, named from the top, is wanted."""
        if self.glob and not regex(self.glob).fullmatch(name):
            return False
        last = name.rpartition("/")[2]
        if include:
            return any(
                regex(tuple(one.split("/"))).fullmatch(prefix + name if "/" in one else last)
                for one in include
            )
        open_end = not self.glob or not re.search(r"\.[^*?\[\]]+$", self.glob[-1])
        return not open_end or os.path.splitext(last)[1].lower() in SUFFIXES


@dataclass(frozen=True)
class Found:
    """The recordings of a run; each loop walks the folders anew.

    Attributes:
        base: The folder or the beginning of the URLs that all of them lie in, absolute; what names are relative to.
    """

    base: str
    _trees: tuple[_Tree, ...]
    _named: tuple[tuple[str, str], ...]
    _include: tuple[str, ...]
    _skip: str | None
    _depth: int

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Give (name, path) of every recording once, sorted by name; paths are absolute, or URLs."""
        streams = [self._recordings(tree) for tree in self._trees]
        last = None
        for name, path in heapq.merge(*streams, self._named):
            if name != last:
                yield name, path
            last = name

    def _recordings(self, tree: _Tree) -> Iterator[tuple[str, str]]:
        prefix = "".join(f"{part}/" for part in tree.parts[self._depth :])
        for name, path, folder in walk(tree.top, tree.enters, self._skip):
            if folder or tree.takes(name, prefix, self._include):
                yield prefix + name, path

    def _check(self) -> None:
        """Refuse folders and globs with nothing in them that is wanted.

        Raises:
            OptionError: there is one; with what is there instead.
        """
        for tree in self._trees:
            if next(self._recordings(tree), None) is not None:
                continue
            deep = tree.enters if tree.glob else _anything if tree.recursive else _nothing
            names = (name for name, _, _ in walk(tree.top, deep, self._skip))
            meant = (name for name in names if not tree.glob or regex(tree.glob).fullmatch(name))
            kinds = Counter(os.path.splitext(name)[1] or "no suffix" for name in islice(meant, _COUNTED))
            if tree.glob and not kinds:
                raise OptionError(
                    f"{urls.shown(tree.given)}: no file below {urls.shown(tree.top)} matches it; give another pattern"
                )
            there = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
            instead = f"there are files: {there}" if kinds else "there are no files at all"
            raise OptionError(
                f"{urls.shown(tree.given)}: holds no recordings that are asked for, {instead}; "
                "give another folder, or say with --include which files are meant"
            )


def find(
    inputs: Sequence[str], include: Sequence[str] = (), recursive: bool = True, skip: Path | None = None
) -> Found:
    """Find the recordings that a user names.

    Args:
        inputs: Folders, files, globs (`rec/**/*.wav`), lists of paths or URLs (`@list.txt`: one a line, relative to the
            list's folder, lines with `#` are comments), and URLs of all these but lists. Web folders end with `/`.
        include: Patterns of file names, or of names below the base if they hold a `/`; all for folders and globs only.
        recursive: Whether to look into the folders of folders.
        skip: A folder to leave out: the run's output.

    Returns:
        The recordings. The name of a URL is without its query; files that differ in nothing else get `~` and a hash of
        it before their suffix.

    Raises:
        OptionError: Something is not there, is empty, has no match, or the inputs have nothing in common.
        MissingExtraError: There are URLs, and fsspec is not installed.
    """
    if isinstance(inputs, str) or not inputs:
        raise OptionError(f"got the recordings {inputs!r}, expected a list of folders, files, globs or URLs")
    for pattern in include:
        regex(tuple(pattern.split("/")))
    trees: list[_Tree] = []
    files: list[str] = []
    kinds: dict[tuple[str, str, str], str] = {}
    base: tuple[str, ...] | None = None
    for text in inputs:
        for item in _listed(text) if text.startswith("@") else [_input(text, recursive)]:
            if isinstance(item, _Tree):
                trees.append(item)
                path, end = item.top, item.parts
            else:
                files.append(item)
                path, end = item, _parts(item)[:-1]
            kinds.setdefault(_kind(path), text)
            base = end if base is None else _common(base, end)
    if len(kinds) > 1 or base is None:
        one, other = (urls.shown(text) for text in list(kinds.values())[:2])
        raise OptionError(f"{one} and {other} lie in no common place; annotate them in runs of their own")
    _check_skip(trees, skip)
    (kind,) = kinds
    named = _named([("/".join(_parts(path)[len(base) :]), path) for path in files])
    output = None if skip is None else str(skip)
    found = Found(_base(kind, base), tuple(trees), named, tuple(include), output, len(base))
    found._check()
    return found


def fingerprint(path: str) -> Fingerprint:
    """Look at a recording's size, time and first bytes.

    Args:
        path: A path or a URL.

    Raises:
        AudioError: It is missing or cannot be read.
        MissingExtraError: It is a URL, and fsspec is not installed.
    """
    if urls.is_url(path):
        seen = remote.head(path, HEAD_BYTES)
        mark = b"" if seen.mtime_ns is not None else seen.tag.encode()
        return Fingerprint(seen.size, seen.mtime_ns, _hash(seen.data + mark))
    path = urls.local(path)
    try:
        if os.path.isdir(path):
            os.scandir(path).close()
            raise AudioError(f"{path}: is a folder; give a recording")
        if not os.path.isfile(path) and os.path.exists(path):
            raise AudioError(f"{path}: is not a regular file; save the sound to a file first")
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            return Fingerprint(status.st_size, status.st_mtime_ns, _hash(file.read(HEAD_BYTES)))
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file; check the name") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{path}: cannot be opened ({reason}); check the name and permissions") from error


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _input(text: str, recursive: bool) -> _Tree | str:
    """What one input means: a folder to walk, or the path or URL of a file.

    Raises:
        OptionError: it is not there.
    """
    if urls.is_url(text):
        return _remote_input(text, recursive)
    text = urls.local(text)
    path = os.path.abspath(os.path.expanduser(text))
    if os.path.isdir(path):
        return _Tree(text, path, _parts(path), (), recursive)
    if os.path.lexists(path):
        return path
    pieces = os.path.expanduser(text).replace(os.sep, "/").split("/")
    first = next((number for number, piece in enumerate(pieces) if _MAGIC.search(piece)), len(pieces))
    top = os.path.abspath("/".join(pieces[:first]) + "/" if first else ".")
    if first == len(pieces) or not os.path.isdir(top):
        raise OptionError(f"{text}: no such file or folder; {_instead(top)}")
    return _Tree(text, top, _parts(top), _pattern(pieces[first:]), recursive)


def _remote_input(url: str, recursive: bool) -> _Tree | str:
    """As `_input`, of a URL; on the web only `*` is magic, for `?` begins a query."""
    before, own, after = urls.parts(url)
    web = urls.is_web(url)
    scheme, _, rest = (own.partition("?")[0] if web else own).partition("://")
    pieces = rest.split("/")
    magic = [i for i, piece in enumerate(pieces) if ("*" in piece if web else _MAGIC.search(piece))]
    if magic:
        top = f"{before}{scheme}://{''.join(f'{piece}/' for piece in pieces[: magic[0]])}{after}"
        return _Tree(url, top, _parts(top), _pattern(pieces[magic[0] :]), recursive)
    return _Tree(url, url, _parts(url), (), recursive) if remote.is_folder(url) else url


def _listed(text: str) -> Iterator[_Tree | str]:
    """What a list of files names; whether files are there is not looked up.

    Raises:
        OptionError: the list is missing or names nothing.
    """
    path = os.path.abspath(os.path.expanduser(text[1:]))
    try:
        lines = Path(path).read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")
    except OSError as error:
        raise OptionError(f"{text}: the list cannot be read ({error.strerror}); {_instead(path)}") from error
    entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not entries:
        raise OptionError(f"{text}: the list names no files; write a path or URL a line")
    for entry in entries:
        entry = urls.local(entry)
        if urls.is_url(entry):
            folder = urls.parts(urls.shown(entry))[1].endswith("/")
        else:
            entry = os.path.abspath(os.path.join(os.path.dirname(path), entry))
            folder = os.path.splitext(entry)[1].lower() not in SUFFIXES and os.path.isdir(entry)
        yield _Tree(entry, entry, _parts(entry)) if folder else entry


def _instead(path: str) -> str:
    """What is there, where something is not."""
    parent = os.path.dirname(path)
    while not os.path.isdir(parent) and parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
    try:
        names = sorted(name for name in os.listdir(parent) if not name.startswith(HIDDEN))
    except OSError:
        names = []
    some = ", ".join(repr(name)[1:-1] for name in names[:5]) + (" ..." if len(names) > 5 else "")
    return f"{parent} holds {some or 'nothing'}"


def _base(kind: tuple[str, str, str], parts: tuple[str, ...]) -> str:
    """The path or URL that parts make up."""
    before, scheme, after = kind
    if not scheme:
        return os.sep.join(parts) + os.sep * (len(parts) == 1)
    return before + "/".join(parts) + "/" * (len(parts) == 2) + after


def _anything(folder: str) -> bool:
    return True


def _nothing(folder: str) -> bool:
    return False


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """The parts that both begin with."""
    same = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))  # noqa: B905
    return one[:same]


def _check_skip(trees: Sequence[_Tree], skip: Path | None) -> None:
    output = None if skip is None else os.path.realpath(skip)
    for tree in trees:
        if output is None or urls.is_url(tree.top):
            continue
        top = os.path.realpath(tree.top)
        if top == output or top.startswith(os.path.join(output, "")):
            raise OptionError(
                f"{tree.given}: is the output folder or lies in it; give another folder for the output"
            )


def _parts(path: str) -> tuple[str, ...]:
    """A path or URL in parts, as names have them: no query, no password, no `%20` of the web."""
    if not urls.is_url(path):
        return tuple(path.rstrip(os.sep).split(os.sep))
    own = urls.parts(urls.shown(path))[1].rstrip("/")
    scheme, _, rest = own.partition("://") if "://" in own else (own.rstrip(":"), "", "")
    pieces = [piece for piece in rest.split("/") if piece]
    if ".." in pieces or "." in pieces:
        raise OptionError(f"{urls.shown(path)}: holds '..' or '.'; give the URL without them")
    web = urls.is_web(path)
    return (f"{scheme}:", "", *(urls.unquoted(piece) if web else piece for piece in pieces))


def _kind(path: str) -> tuple[str, str, str]:
    """What inputs must have in common: a disk; or a scheme, and what the files are packed in."""
    if not urls.is_url(path):
        return os.path.splitdrive(path)[0], "", ""
    before, own, after = urls.parts(urls.shown(path))
    return before, own.partition(":")[0], after


def _named(files: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Sorted and each once; different files of one name, whose queries differ, are told apart by a hash."""
    files.sort()
    told: list[tuple[str, str]] = []
    for name, group in groupby(files, key=lambda file: file[0]):
        paths = list(dict.fromkeys(path for _, path in group))
        stem, suffix = os.path.splitext(name)
        hashed = (
            [f"{stem}~{_hash(os.fsencode(path))[:8]}{suffix}" for path in paths] if len(paths) > 1 else [name]
        )
        told += zip(hashed, paths)  # noqa: B905
    return tuple(sorted(told))


def _pattern(pieces: Sequence[str]) -> tuple[str, ...]:
    pattern = tuple(piece for piece in pieces if piece not in ("", "."))
    regex(pattern)
    return pattern
