"""URLs as texts: what is one, its parts, and what may be shown of it."""

from __future__ import annotations

import os
import re
import urllib.parse
import urllib.request

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_LOCAL = re.compile(r"(?:file|local)://(?!.*::)", re.IGNORECASE)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_SECRETS = (re.compile(r"\?[^\s'\"()<>]*"), re.compile(r"(?<=//)[^\s/@]*@"))


def is_url(text: str) -> bool:
    r"""Whether a text is a URL to be fetched: not a path, a Windows path such as `C:\a`, or a plain `file://`."""
    return bool(_URL.match(text)) and not _LOCAL.match(text)


def local(text: str) -> str:
    """The path that a `file://` URL means; any other text as it is."""
    if not _LOCAL.match(text):
        return text
    path = text.partition("://")[2].removeprefix("localhost")
    return path if os.path.exists(path) else urllib.request.url2pathname(path)


def is_web(url: str) -> bool:
    """Whether a URL's own part is of the web, where `?` begins a query and names are quoted with `%`."""
    return bool(_WEB.match(parts(url)[1]))


def parts(url: str) -> tuple[str, str, str]:
    """A chained URL as (`simplecache::`, `zip://inside.wav`, `::s3://bucket/archive.zip`); outer ones may be empty."""
    pieces = url.split("::")
    own = next((number for number, piece in enumerate(pieces) if "://" in piece), 0)
    return (
        "".join(f"{piece}::" for piece in pieces[:own]),
        pieces[own],
        "".join(f"::{p}" for p in pieces[own + 1 :]),
    )


def shown(path: str) -> str:
    """A URL without its secrets: no query, user or password; a local path as it is."""
    if not is_url(path):
        return path
    pieces = (_SECRETS[1].sub("", piece.partition("?")[0]) for piece in path.split("::"))
    return "::".join(piece.partition("#")[0] if _WEB.match(piece) else piece for piece in pieces)


def unquoted(piece: str) -> str:
    """A part of a path on the web as a name: `a%20b` is `a b`, but `a%2Fb` stays."""
    name = urllib.parse.unquote(piece)
    return piece if "/" in name or name in ("", ".", "..") else name


def file_name(url: str) -> str:
    """The last part of a URL, as a name that any disk takes."""
    piece = parts(shown(url))[1].rstrip("/").rpartition("/")[2]
    name = re.sub(r'[\x00-\x1f<>:"|?*\\/]', "_", unquoted(piece) if is_web(url) else piece)
    stem, suffix = os.path.splitext(name)
    return f"{stem.encode(errors='replace')[:120].decode(errors='ignore') or 'recording'}{suffix[:20]}"


def scrubbed(error: Exception) -> str:
    """What an error says, in one line without what follows a `?` and without passwords."""
    text = " ".join(str(error).split())
    for secret in _SECRETS:
        text = secret.sub("", text)
    return text
