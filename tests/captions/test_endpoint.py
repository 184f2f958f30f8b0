"""A real server on this machine that speaks the protocol, well and badly."""

import base64
import io
import json
import threading
import time
from email.utils import formatdate

import av
import numpy as np
import pytest
import soundfile

from peaframe.captions.clips import Clip, OpenClip
from peaframe.captions.endpoint import Endpoint, EndpointOptions
from peaframe.captions.endpoint_media import HEAR, EndpointPictures, EndpointSound
from peaframe.captions.parts import Failure
from peaframe.errors import ModelError, OptionError


@pytest.fixture
def ask(server):
    """Asks the server; pauses are noted, not made."""

    def ask(*prompts, **options):
        ask.pauses = []
        endpoint = Endpoint(EndpointOptions(server.url, "tiny", **options), ask.pauses.append)
        return endpoint.write(list(prompts))

    return ask


def test_answers_come_in_the_order_of_prompts(server, ask):
    server.answer = lambda body, count: body["messages"][0]["content"].upper()
    assert ask(*(f"prompt {i} ü" for i in range(20)), threads=5) == [f"PROMPT {i} Ü" for i in range(20)]
    assert server.headers[0][0] == "/v1/chat/completions"
    assert "Authorization" not in server.headers[0][1]
    body = next(body for body in server.bodies if body["messages"][0]["content"] == "prompt 3 ü")
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "prompt 3 ü"}],
        "max_tokens": 256,
        "temperature": 0.0,
        "stream": False,
    }


def test_threads_ask_at_the_same_time(server, ask):
    barrier = threading.Barrier(4)
    server.answer = lambda body, count: str(barrier.wait(20) >= 0)
    assert ask("a", "b", "c", "d", threads=4) == ["True"] * 4


def test_the_key_is_sent_and_never_said(server, ask, monkeypatch, refusal):
    monkeypatch.setenv("SOME_KEY", "sesame-42")
    ask("hello", key_variable="SOME_KEY")
    assert server.headers[0][1]["Authorization"] == "Bearer sesame-42"
    server.answer = lambda body, count: (401, {}, b'{"error": {"message": "bad key"}}')
    message = refusal(ModelError, ask, "hello", key_variable="SOME_KEY")
    assert "HTTP 401: bad key; check the key in SOME_KEY" in message
    assert "sesame" not in message
    assert "give --key-variable" in refusal(ModelError, ask, "hello")
    assert "OTHER_KEY is not set" in refusal(OptionError, ask, "hello", key_variable="OTHER_KEY")


def test_a_busy_server_is_given_the_time_it_asks_for(server, ask):
    headers = [{"Retry-After": "7"}, {"Retry-After": formatdate(time.time() + 30, usegmt=True)}, {}]
    headers.append({"Retry-After": "900"})
    server.answer = lambda body, count: (429, headers[count - 1], b"{}") if count < 5 else "at last"
    assert ask("hello") == ["at last"]
    assert ask.pauses[0] == 7
    assert 25 < ask.pauses[1] <= 30
    assert ask.pauses[2:] == [4, 60]


def test_a_failing_server_fails_one_prompt_after_all_attempts(server, ask):
    bad = (500, {}, b"oops")
    server.answer = lambda body, count: bad if body["messages"][0]["content"] == "b" else "fine"
    assert ask("a", "b", "c", attempts=3, pause_seconds=0.5) == [
        "fine",
        Failure("tiny: HTTP 500, 3 times"),
        "fine",
    ]
    assert ask.pauses == [0.5, 1.0]
    assert len(server.bodies) == 5


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe garbage", "no chat completion"),
        (b"[" * 100_000, "no chat completion"),
        (b'{"choices": []}', "no chat completion"),
        (b'{"choices": [{"message": {"content": null}}]}', "an answer without text"),
    ],
)
def test_nonsense_is_asked_again(server, ask, data, why):
    server.answer = lambda body, count: (200, {}, data) if count < 3 else "sense"
    assert ask("hello") == ["sense"]
    server.answer = lambda body, count: (200, {}, data)
    (failure,) = ask("hello", attempts=2)
    assert why in failure.reason
    assert "\n" not in failure.reason


def test_a_broken_and_a_slow_answer(server, ask):
    server.answer = lambda body, count: (200, {"Content-Length": "5000"}, b"{") if count == 1 else "whole"
    assert ask("hello", timeout_seconds=1) == ["whole"]

    def slow(body, count):
        time.sleep(1.5 if count < 4 else 0)
        return "late"

    server.answer = slow
    assert ask("hello", timeout_seconds=0.3, attempts=1) == [Failure("tiny: no answer within 0.3 s, 1 times")]
    assert ask("hello", timeout_seconds=0.3, attempts=3) == ["late"]


def test_what_one_prompt_is_guilty_of_fails_it_at_once(server, ask):
    said = json.dumps({"error": {"message": "maximum context\nlength is 10"}}).encode()
    server.answer = lambda body, count: (400, {}, said)
    assert ask("hello") == [Failure("tiny: HTTP 400: maximum context length is 10")]
    assert len(server.bodies) == 1


def test_nobody_there_and_the_wrong_place_stop_the_run(server, ask, refusal):
    server.answer = lambda body, count: (404, {}, b"")
    assert "check the address, and the name 'tiny'" in refusal(ModelError, ask, "a", "b", "c")
    server.answer = lambda body, count: (302, {"Location": "http://127.0.0.1:1/elsewhere"}, b"")
    assert "HTTP 302; expected an endpoint" in refusal(ModelError, ask, "hello")
    server.close()
    message = refusal(ModelError, ask, "hello", attempts=2)
    assert "cannot be reached" in message
    assert "start the server" in message
    assert ask.pauses == [1.0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"url": "localhost:8000"}, "http://localhost:8000/v1"),
        ({"url": "file:///etc/passwd"}, "http://localhost:8000/v1"),
        ({"url": "http://me:secret@host/v1"}, "environment variable"),
        ({"model": ""}, "name of a model"),
        ({"attempts": 0}, "1 or more"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"pause_seconds": float("nan")}, "pause_seconds"),
    ],
)
def test_options_that_make_no_sense(options, expected, refusal):
    message = refusal(OptionError, EndpointOptions, **{"url": "http://host/v1", "model": "m", **options})
    assert expected in message
    assert "secret" not in message


def test_sound_and_pictures_arrive_as_they_are(server, media):
    endpoint = Endpoint(EndpointOptions(server.url, "tiny"))
    server.answer = lambda body, count: body["messages"][0]["content"][1]["type"]
    low = OpenClip(Clip("low.wav", media / "low.wav"))
    assert EndpointSound(endpoint).caption([low]) == ["input_audio"]
    text, part = server.bodies[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": HEAR}
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(part["input_audio"]["data"])))
    assert (rate, len(heard)) == (16_000, 24_000)
    assert np.argmax(np.abs(np.fft.rfft(heard))) / 1.5 == 200

    video = OpenClip(Clip("silent.mp4", media / "silent.mp4"))
    assert EndpointPictures(endpoint, side=32).caption([video]) == ["image_url"]
    pictures = server.bodies[1]["messages"][0]["content"][1:]
    colors = []
    for picture in pictures:
        kind, _, data = picture["image_url"]["url"].partition(",")
        assert kind == "data:image/png;base64"
        with av.open(io.BytesIO(base64.b64decode(data))) as image:
            shown = next(image.decode(video=0)).to_ndarray(format="rgb24")
        assert shown.shape == (24, 32, 3)
        colors.append("rgb"[int(shown.mean((0, 1)).argmax())])
    assert colors == ["r", "r", "b", "b"]


def test_identities_tell_questions_apart(server, refusal):
    endpoint = Endpoint(EndpointOptions(server.url, "tiny"))
    parts = [EndpointSound(endpoint), EndpointSound(endpoint, "What?"), EndpointPictures(endpoint), endpoint]
    parts.append(Endpoint(EndpointOptions(server.url, "tiny", max_tokens=9)))
    assert len({part.identity for part in parts}) == 5
    assert "an instruction" in refusal(OptionError, EndpointSound, endpoint, " ")
    assert "16 or more" in refusal(OptionError, EndpointPictures, endpoint, "What?", 2)
