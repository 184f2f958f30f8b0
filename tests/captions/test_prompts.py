"""Prompts are files, told apart by their content."""

import hashlib

import pytest

from peaframe.captions.prompts import FIELDS, FOLDER, load_prompts
from peaframe.errors import FormatError


def test_the_package_has_all_four():
    prompts = load_prompts()
    assert sorted(prompts) == ["again", "audio", "audio_visual", "visual"]
    for name, prompt in prompts.items():
        text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip()
        assert prompt.digest == hashlib.sha256(text.encode()).hexdigest()[:12]
        filled = prompt.fill({field: f"<{field} $heard $5>" for field in FIELDS[name]})
        assert all(filled.count(f"<{field} $heard $5>") == text.count(f"${field}") for field in FIELDS[name])
        assert all(f"${field}" in text for field in FIELDS[name])
    assert len({prompt.digest for prompt in prompts.values()}) == 4


def test_some_of_ones_own(tmp_path):
    (tmp_path / "audio.txt").write_text(
        "What is heard? $heard costs $$5. Write in $language.\n", encoding="utf-8"
    )
    prompts = load_prompts(tmp_path)
    assert prompts["audio"].fill({"heard": "rain", "seen": "", "language": "English"}) == (
        "What is heard? rain costs $5. Write in English."
    )
    assert prompts["visual"] == load_prompts()["visual"]


@pytest.mark.parametrize("text", ["", "  \n", "What of $this?", "It costs $5.", b"\xff\xfe\x00"])
def test_prompts_that_cannot_be_used(tmp_path, text, refusal):
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "audio.txt").write_bytes(data)
    assert "audio.txt" in refusal(FormatError, load_prompts, tmp_path)


def test_a_folder_without_prompts(tmp_path, refusal):
    assert "holds no prompts" in refusal(FormatError, load_prompts, tmp_path)
