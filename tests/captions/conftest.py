"""Tiny real models of transformers with random weights, a real server of the chat-completions protocol, and media."""

import json
import runpy
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile

import peaframe

processes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "processes.py")))
TEXT = """
a the and of in is with dog bird rain siren wind water man woman speaks barks sings falls loudly softly near far
street forest room metal engine bell rings child laughs heard seen red green blue picture moves write caption
"""
WORDS = TEXT.split()


class Server:
    """Speaks the protocol; `answer(body, count)` gives a text, or (status, headers, bytes)."""

    def __init__(self):
        self.bodies, self.headers, self.lock = [], [], threading.Lock()
        self.answer = lambda body, count: "A dog barks."
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.bodies.append(body)
                    outer.headers.append((self.path, dict(self.headers)))
                    count = len(outer.bodies)
                given = outer.answer(body, count)
                if isinstance(given, str):
                    message = {"role": "assistant", "content": given}
                    whole = {"object": "chat.completion", "choices": [{"index": 0, "message": message}]}
                    given = (200, {}, json.dumps(whole).encode())
                status, headers, data = given
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(data)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # whoever asked has gone

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def prompts(self):
        """The words of every request."""
        return [text_of(body) for body in self.bodies]

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def text_of(body):
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Server()
    yield made
    made.close()


@pytest.fixture(scope="session")
def detector():
    """The built-in model on the CPU."""
    return peaframe.load(device="cpu")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Tiny models with random weights: ears one and two, eyes, pen and learner (GPT-2), chat (Llama)."""
    import torch
    import transformers as t
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    folder = tmp_path_factory.mktemp("models")
    pieces = {word: i for i, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *WORDS])}
    plain = Tokenizer(WordLevel(pieces, unk_token="<unk>"))
    plain.pre_tokenizer = Whitespace()
    tokenizer = t.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    size = len(pieces)
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    small = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": size, "initializer_range": 0.6, **ids}
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

    def decoder():
        return t.GPT2LMHeadModel(
            t.GPT2Config(n_positions=128, is_decoder=True, add_cross_attention=True, **small)
        )

    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        config = t.Wav2Vec2Config(
            **wide,
            vocab_size=size,
            conv_dim=(32, 32),
            conv_stride=(20, 16),
            conv_kernel=(40, 16),
            num_feat_extract_layers=2,
            feat_extract_norm="layer",
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
            do_stable_layer_norm=True,
            initializer_range=0.6,
        )
        ears = t.SpeechEncoderDecoderModel(encoder=t.Wav2Vec2Model(config), decoder=decoder())
        started(ears).save_pretrained(folder / name)
        t.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder / name)
    config = t.ViTConfig(**wide, image_size=32, patch_size=8, initializer_range=0.6)
    eyes = t.VisionEncoderDecoderModel(encoder=t.ViTModel(config), decoder=decoder())
    started(eyes).save_pretrained(folder / "eyes")
    t.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / "eyes")
    t.GPT2LMHeadModel(t.GPT2Config(n_positions=1024, **small)).save_pretrained(folder / "pen")
    easy = {**small, "initializer_range": 0.02, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    t.GPT2LMHeadModel(t.GPT2Config(n_positions=64, **easy)).save_pretrained(folder / "learner")
    config = t.LlamaConfig(
        **wide, vocab_size=size, max_position_embeddings=1024, initializer_range=0.6, **ids
    )
    t.LlamaForCausalLM(config).save_pretrained(folder / "chat")
    for name in ("one", "two", "eyes", "pen", "learner"):
        tokenizer.save_pretrained(folder / name)
    tokenizer.chat_template = "{% for m in messages %}<s> {{ m['content'] }} </s>{% endfor %} caption"
    tokenizer.save_pretrained(folder / "chat")
    return folder


def started(model):
    """An encoder-decoder that knows where its words begin and end."""
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    return model


def tone(hertz, seconds=1.5, seed=0):
    time = np.arange(int(seconds * 48_000)) / 48_000
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    return (0.3 * np.sin(2 * np.pi * hertz * time) + noise).astype(np.float32)


def write_video(path, sound=None, seconds=2.0, colors=((255, 0, 0), (0, 0, 255))):
    """A video of plain pictures, 10 a second, each color for an equal share of it; with or without sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        voice = None
        if sound is not None:
            voice = container.add_stream("aac", rate=48_000, layout="mono")
        count = round(seconds * 10)
        for i in range(count):
            image = np.empty((48, 64, 3), np.uint8)
            image[:] = colors[i * len(colors) // count]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
        if voice is not None:
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate = 48_000
            resampler = av.AudioResampler("fltp", "mono", 48_000, frame_size=1024)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(voice.encode(piece))
            container.mux(voice.encode(None))


@pytest.fixture
def media(tmp_path):
    """Two sounds, a video with sound, a silent one, a file that is no media, and a table of them and one not there."""
    folder = tmp_path / "media"
    folder.mkdir()
    soundfile.write(folder / "low.wav", tone(200), 48_000)
    soundfile.write(folder / "high.flac", tone(3000, seed=1), 48_000)
    write_video(folder / "both.mp4", tone(800, 2.0))
    write_video(folder / "silent.mp4")
    (folder / "broken.wav").write_bytes(b"no sound at all" * 50)
    rows = [
        "low.wav,,,",
        "high.flac,0.25,1.25,",
        "both.mp4,0,2,hello there",
        "silent.mp4,,,",
        "broken.wav,,,",
        "gone.wav,,,",
    ]
    (folder / "clips.csv").write_text("\n".join(["media,start,end,transcript", *rows]) + "\n")
    return folder


@pytest.fixture
def make_video():
    return write_video


@pytest.fixture
def make_tone():
    return tone


@pytest.fixture
def until():
    """Wait until something is true, at most 60 s."""

    def until(true):
        stop = time.monotonic() + 60
        while not true():
            assert time.monotonic() < stop
            time.sleep(0.01)

    return until


@pytest.fixture
def many(media):
    """A table of twelve sounds, all different."""
    for i in range(12):
        soundfile.write(media / f"{i}.wav", tone(300 + 200 * i, 1.0, i), 48_000)
    (media / "many.csv").write_text("media\n" + "".join(f"{i}.wav\n" for i in range(12)))
    return media / "many.csv"


@pytest.fixture
def arguments(models, media, server, tmp_path):
    """A command line of the recipe; the output folder by name. The server has another good answer for every prompt."""

    def answer(body, count):
        return f"A bell number {sum(map(ord, text_of(body)))} rings in a quiet room."

    server.answer = answer

    def arguments(out="out", *more, clips="clips.csv"):
        ears = [f"--audio=local:{models / name}" for name in ("one", "two")]
        eyes = ["--video", f"local:{models / 'eyes'}", "--writer", f"endpoint:tiny@{server.url}"]
        return [str(media / clips), "--out", str(tmp_path / out), *ears, *eyes, *more]

    return arguments


@pytest.fixture
def killed_at_the_fifth(server, until):
    """Begin the recipe with these arguments, kill it when it asks for the fifth time; gives what was answered."""

    def killed(arguments):
        good = server.answer

        def stuck(body, count):  # from the fifth on nobody answers, until the run is dead
            if count > 4:
                until(lambda: server.answer is not stuck)
            return good(body, count)

        server.answer = stuck
        command = [sys.executable, "-m", "peaframe.recipes.caption", *arguments]
        processes.killed_while(command, lambda: len(server.bodies) < 5, 300)
        kept = server.prompts()[:4]
        server.answer = good
        return kept

    return killed
