"""A language model behind an OpenAI-compatible endpoint: `POST URL/chat/completions`, by the standard library alone.

Whoever runs the server may put other weights behind the same name; answers that are kept do not notice.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from peaframe.captions.parts import Answer, Failure
from peaframe.errors import ModelError, OptionError
from peaframe.version import __version__

Messages = Sequence[Mapping[str, Any]]
_MOST_BYTES = 16 << 20
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_OF_ONE_PROMPT = frozenset({400, 413, 422})


@dataclass(frozen=True)
class EndpointOptions:
    """Where the model is and how it is asked.

    Attributes:
        url: up to and without `/chat/completions`, such as `http://localhost:8000/v1`.
        model: its name there.
        key_variable: name of the environment variable that holds the key; None sends none.
        timeout_seconds: how long one answer may take.
        attempts: how often a prompt is sent at most, if the server is busy, fails, or answers with nonsense.
        pause_seconds: before the second attempt; twice as long before each one after it. What the server asks for
            in `Retry-After` counts more.
        longest_pause_seconds: no pause is longer.
        threads: prompts under way at a time.
        max_tokens: of an answer.
        temperature: 0 takes the likeliest words.
    """

    url: str
    model: str
    key_variable: str | None = None
    timeout_seconds: float = 120.0
    attempts: int = 5
    pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    threads: int = 8
    max_tokens: int = 256
    temperature: float = 0.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            good = (
                parts.scheme in ("http", "https")
                and bool(parts.hostname)
                and not (parts.query or parts.fragment)
            )
            secret = parts.username is not None or parts.password is not None
        except ValueError:
            good = secret = False
        if secret:
            raise OptionError(
                "got a URL with a user or password in it; put the key into an environment variable"
            )
        if not good:
            raise OptionError(f"got the URL {self.url!r}, expected one such as http://localhost:8000/v1")
        if not self.model:
            raise OptionError("got no name of a model; expected the one that the endpoint knows")
        for name in ("attempts", "threads", "max_tokens"):
            if getattr(self, name) < 1:
                raise OptionError(f"got {name} {getattr(self, name)}, expected 1 or more")
        for name in ("timeout_seconds", "pause_seconds", "longest_pause_seconds", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "timeout_seconds" and value == 0):
                raise OptionError(f"got {name} {value}, expected a number that is not negative")


class _PassingError(Exception):
    """What may be over at the next attempt."""

    def __init__(self, reason: str, wait: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.unreachable = wait, unreachable


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the key is for the server that was named."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Endpoint:
    """Asks an endpoint many things at a time."""

    def __init__(self, options: EndpointOptions, pause: Callable[[float], None] = time.sleep) -> None:
        """Read the key.

        Args:
            options: where, and how.
            pause: waits this many seconds.

        Raises:
            OptionError: the environment variable is not set.
        """
        self.options, self._pause = options, pause
        self._headers = {"Content-Type": "application/json", "User-Agent": f"peaframe/{__version__}"}
        if options.key_variable is not None:
            key = os.environ.get(options.key_variable, "").strip()
            if not key:
                raise OptionError(
                    f"the environment variable {options.key_variable} is not set; put the key into it"
                )
            self._headers["Authorization"] = f"Bearer {key}"
        self._opener = urllib.request.build_opener(_Stay)

    @property
    def name(self) -> str:
        """The model's name at the endpoint."""
        return self.options.model

    @property
    def identity(self) -> str:
        """The endpoint, the model, and what shapes answers."""
        o = self.options
        return f"endpoint {o.url.rstrip('/')} {o.model} {o.max_tokens} {o.temperature}"

    def write(self, prompts: Sequence[str]) -> list[Answer]:
        """Answer prompts; errors as in `ask`."""
        return self.ask([[{"role": "user", "content": prompt}] for prompt in prompts])

    def ask(self, talks: Sequence[Messages]) -> list[Answer]:
        """Answer several talks, each a list of messages as the protocol has them.

        Returns:
            An answer for each; a failure where the server refused this one, or failed at it at every attempt.

        Raises:
            ModelError: nobody is there at the address, the key or the model's name is wrong, or the server speaks
                another protocol.
        """
        with ThreadPoolExecutor(min(self.options.threads, max(1, len(talks)))) as pool:
            waiting = [pool.submit(self._answer, talk) for talk in talks]
            try:
                return [future.result() for future in waiting]
            except BaseException:
                for future in waiting:
                    future.cancel()
                raise

    def _answer(self, talk: Messages) -> Answer:
        o = self.options
        body = {
            "model": o.model,
            "messages": list(talk),
            "max_tokens": o.max_tokens,
            "temperature": o.temperature,
            "stream": False,
        }
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        for attempt in range(o.attempts):
            try:
                return self._once(data)
            except _PassingError as passing:
                error = passing
            if attempt + 1 < o.attempts:
                wait = o.pause_seconds * 2.0**attempt if error.wait is None else error.wait
                self._pause(min(wait, o.longest_pause_seconds))
        if error.unreachable:
            raise ModelError(f"{o.url}: cannot be reached ({error}); start the server or check the address")
        return Failure(f"{o.model}: {error}, {o.attempts} times")

    def _once(self, data: bytes) -> Answer:
        """One attempt; raises `_PassingError` for what is worth another one."""
        url = self.options.url.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(url, data, self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=self.options.timeout_seconds) as reply:
                text = reply.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            return self._refused(error)
        except TimeoutError as error:
            raise _PassingError(f"no answer within {self.options.timeout_seconds:g} s") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _PassingError(f"no answer within {self.options.timeout_seconds:g} s") from error
            raise _PassingError(_line(error.reason), unreachable=True) from error
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(f"the connection broke ({_line(error) or type(error).__name__})") from error
        if len(text) > _MOST_BYTES:
            raise _PassingError("an answer of more than 16 MB")
        return _content(text)

    def _refused(self, error: urllib.error.HTTPError) -> Failure:
        o, said = self.options, f"HTTP {error.code}{_said(error)}"
        if error.code in _PASSING:
            raise _PassingError(said, _wait(error.headers.get("Retry-After")))
        if error.code in _OF_ONE_PROMPT:
            return Failure(f"{o.model}: {said}")
        if error.code in (401, 403):
            hint = "give --key-variable" if o.key_variable is None else f"check the key in {o.key_variable}"
        elif error.code == 404:
            hint = f"check the address, and the name {o.model!r}"
        else:
            hint = "expected an endpoint that speaks OpenAI's chat completions"
        raise ModelError(f"{o.url}: answers {said}; {hint}")


def _content(text: bytes) -> str:
    try:
        content = json.loads(text)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _PassingError(
            f"an answer that is no chat completion ({_line(text[:60].decode('utf-8', 'replace'))})"
        ) from error
    if not isinstance(content, str):
        raise _PassingError("an answer without text")
    return content


def _said(error: urllib.error.HTTPError) -> str:
    """What the server gave as its reason, behind a colon."""
    try:
        told = json.loads(error.read(_MOST_BYTES))
        message = told["error"]["message"] if isinstance(told["error"], dict) else told["error"]
        return f": {_line(message)}"
    except (ValueError, LookupError, TypeError, OSError, http.client.HTTPException, RecursionError):
        return ""


def _line(message: object) -> str:
    return " ".join(str(message).split())[:200]


def _wait(header: str | None) -> float | None:
    """`Retry-After` as seconds from now: a number, or a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
