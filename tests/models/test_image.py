"""PE-AV's image encoder is timm's, reads videos, and survives conversion between both layouts."""

import dataclasses
import json

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from peaframe.errors import CheckpointError, ModelError
from peaframe.models.checkpoint import read_values
from peaframe.models.image import PUBLIC, ImageConfig, ImageEncoder
from peaframe.models.image_layout import from_timm, to_timm
from peaframe.models.load import load_audio_video_model, read_pe, save_pe
from peaframe.models.published import read_published

TINY = ImageConfig(size=42, patch=14, width=32, layers=2, heads=2, pool_heads=4)


@pytest.fixture
def encoder(golden_folder):
    encoder = ImageEncoder(TINY, 24).eval()
    encoder.load_state_dict(load_file(golden_folder / "pe_core_timm" / "model.safetensors"))
    return encoder


@pytest.fixture
def golden(golden_folder):
    outputs = np.load(golden_folder / "pe_core_timm" / "outputs.npz")
    return torch.from_numpy(outputs["images"]), torch.from_numpy(outputs["features"])


@pytest.fixture
def model(golden_folder, encoder):
    """The golden PE-AV with the golden image encoder, whose 24 features fit it."""
    model = load_audio_video_model(golden_folder / "pe_av_original")
    model.image = encoder
    video = dataclasses.replace(model.config.video, image=TINY)
    model.config = dataclasses.replace(model.config, video=video)
    return model


def with_frames(model, frames):
    model.config = dataclasses.replace(
        model.config, video=dataclasses.replace(model.config.video, frames=frames)
    )
    return model


def write_video(path, frames=40, size=(64, 48), rate=10, codec="mpeg4"):
    """A square that wanders over a ground that brightens."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(frames):
            image = np.full((size[1], size[0], 3), 6 * i % 256, dtype=np.uint8)
            image[8:24, i % 40 : i % 40 + 16] = (250, 40, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@torch.no_grad()
def test_features_are_timms(encoder, golden):
    images, features = golden
    found = encoder(images.float() / 127.5 - 1)
    torch.testing.assert_close(found, features, atol=1e-5, rtol=0)
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    torch.testing.assert_close(encoder.frame_features(images), features / norms, atol=1e-6, rtol=0)


def test_frames_of_any_shape_are_squashed(encoder):
    grey = torch.full((20, 3, 30, 70), 99, dtype=torch.uint8)
    square = torch.full((1, 3, 42, 42), 99, dtype=torch.uint8)
    found = encoder.frame_features(grey)
    torch.testing.assert_close(found, encoder.frame_features(square).expand(20, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("frames", "expected"), [(None, 40), (16, 16)])
def test_a_video_becomes_features_and_an_embedding(model, tmp_path, frames, expected):
    features = with_frames(model, frames).video_features(write_video(tmp_path / "square.mp4"))
    assert features.shape == (expected, 24)
    torch.testing.assert_close(torch.linalg.vector_norm(features, dim=1), torch.ones(expected))
    embeddings = model.encode_av(frame_features=features[None])
    assert embeddings["visual_embeds"].shape == (1, model.config.embedding_dim)


PROCESSOR = {"video_processor_type": "PeVideoVideoProcessor", "num_frames": 16}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("video_preprocessor_config.json", PROCESSOR, 16),
        ("preprocessor_config.json", PROCESSOR, 16),
        ("processor_config.json", {"video_processor": PROCESSOR | {"do_sample_frames": True}}, 16),
        ("processor_config.json", {"video_processor": PROCESSOR | {"do_sample_frames": False}}, 400),
        ("processor_config.json", {"feature_extractor": {"sampling_rate": 48_000}}, 400),
        ("processor_config.json", {"video_processor": {"num_frames": None}}, 400),
    ],
)
def test_transformers_video_processor_says_how_many_frames(model, tmp_path, name, content, expected):
    """Forty seconds of video at 10 frames a second."""
    save_pe(with_frames(model, None), tmp_path / "saved", "transformers")
    (tmp_path / "saved" / name).write_text(json.dumps(content), encoding="utf-8")
    again = load_audio_video_model(tmp_path / "saved")
    assert again.video_features(write_video(tmp_path / "square.mp4", frames=400)).shape == (expected, 24)


def test_a_conversion_tells_transformers_how_many_frames(model, tmp_path):
    folder = tmp_path / "saved"
    save_pe(with_frames(model, 16), folder, "transformers")
    processor = json.loads((folder / "video_preprocessor_config.json").read_text(encoding="utf-8"))
    assert (processor["num_frames"], processor["do_sample_frames"]) == (16, True)
    assert processor["size"] == {"height": 42, "width": 42}
    assert load_audio_video_model(folder).config.video.frames == 16
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert values.pop("num_frames") == 16
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    assert load_audio_video_model(folder).config.video.frames == 16
    save_pe(with_frames(model, None), tmp_path / "all", "transformers")
    assert not (tmp_path / "all" / "video_preprocessor_config.json").exists()


@pytest.mark.parametrize("frames", [0, "16", 1.5, True])
def test_another_number_of_frames_is_refused(model, tmp_path, refusal, frames):
    path = tmp_path / "saved" / "video_preprocessor_config.json"
    save_pe(with_frames(model, None), path.parent, "transformers")
    path.write_text(json.dumps({"num_frames": frames}), encoding="utf-8")
    told = refusal(CheckpointError, load_audio_video_model, path.parent)
    assert told == f"{path}: num_frames is {frames!r}, expected a whole number above 0"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pe-av-small-16-frame", 16),
        ("facebook/pe-av-small-16-frame@main", 16),
        ("pe-av-small", None),
        ("someone/pe-av-small-16-frame", None),
    ],
)
def test_a_public_name_says_how_many_frames_where_no_file_does(model, tmp_path, name, expected):
    save_pe(with_frames(model, None), tmp_path / "saved", "transformers")
    values = read_values(tmp_path / "saved")
    assert read_pe(tmp_path / "saved", values, name).config.video.frames == expected
    assert read_published(tmp_path / "saved" / "config.json", values).video.frames is None


@pytest.mark.parametrize("layout", ["transformers", "original"])
def test_it_comes_back_from_both_layouts(model, tmp_path, layout, golden):
    save_pe(model, tmp_path / "saved", layout)
    again = load_audio_video_model(tmp_path / "saved")
    if (
        layout == "original"
    ):  # whose config.json names a public image encoder and has no place for other sizes
        assert again.image is None
        again = None
    else:
        assert again.config.video.image == TINY
        assert torch.equal(again.image.frame_features(golden[0]), model.image.frame_features(golden[0]))


def test_names_go_there_and_back(encoder):
    ours = {f"image.{name}": tensor for name, tensor in encoder.state_dict().items()} | {"x": torch.ones(1)}
    theirs = from_timm(ours)
    assert "image.transformer.resblocks.1.attn.in_proj_weight" in theirs
    assert theirs["image.proj"].shape == (32, 24)
    assert theirs["image.class_embedding"].shape == (32,)
    assert theirs["image.positional_embedding"].shape == (10, 32)
    assert theirs["image.attn_pool.attn.in_proj_bias"].shape == (96,)
    back = to_timm(theirs)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    assert to_timm(ours) is ours


def test_a_bias_that_cannot_be_kept_is_not_dropped(encoder, refusal):
    ours = {f"image.{name}": tensor + 1 for name, tensor in encoder.state_dict().items()}
    assert "a bias" in refusal(CheckpointError, from_timm, ours)


def test_without_an_image_encoder_features_must_be_given(golden_folder, refusal, tmp_path):
    model = load_audio_video_model(golden_folder / "pe_av_original")
    message = refusal(ModelError, model.video_features, tmp_path / "any.mp4")
    assert "frame_features" in message


def test_the_public_size():
    with torch.device("meta"):
        encoder = ImageEncoder(ImageConfig(), 1024)
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6) == 317


def test_a_known_one_comes_back_from_the_original_layout(model, tmp_path, monkeypatch, golden):
    monkeypatch.setitem(PUBLIC, "tiny", TINY)
    save_pe(model, tmp_path / "saved", "original")
    again = load_audio_video_model(tmp_path / "saved")
    assert torch.equal(again.image.frame_features(golden[0]), model.image.frame_features(golden[0]))


@pytest.mark.parametrize("layout", ["transformers", "original"])
def test_an_image_encoder_that_does_not_fit_is_refused(model, tmp_path, monkeypatch, refusal, layout):
    monkeypatch.setitem(PUBLIC, "tiny", TINY)
    model.image.norm_pre.register_parameter("gamma", torch.nn.Parameter(torch.ones(1)))
    save_pe(model, tmp_path / "saved", layout)
    assert "gamma" in refusal(CheckpointError, load_audio_video_model, tmp_path / "saved")
