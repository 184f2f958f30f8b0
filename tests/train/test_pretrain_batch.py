from dataclasses import replace

import pytest
import torch

from peaframe.errors import OptionError
from peaframe.train.pretrain_batch import PretrainBatch, Tokens, spread_frames, with_transcripts


def tokens(*rows):
    longest = max(1, max(map(len, rows)))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    return Tokens(ids, torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]))


@pytest.fixture
def batch():
    return PretrainBatch(
        torch.arange(3 * 4 * 2.0).view(3, 4, 2),
        torch.tensor([4, 0, 2]),
        torch.arange(3 * 5.0).view(3, 5, 1),
        torch.tensor([5, 2, 0]),
        {"audio": tokens([7, 8], [], []), "visual": tokens([1], [2, 3, 4], [])},
        tokens([5, 6, 7], [9], []),
    )


def words(text):
    return [row[keep.bool()].tolist() for row, keep in zip(text.ids, text.mask, strict=True)]


def test_what_has_no_frames_or_words_is_not_there(batch):
    assert {name: flags.tolist() for name, flags in batch.present().items()} == {
        "audio": [True, False, True],
        "visual": [True, True, False],
        "audio_text": [True, False, False],
        "visual_text": [True, True, False],
        "audio_visual_text": [False, False, False],
    }
    assert batch.audio_mask.sum(dim=1).tolist() == [4, 0, 2]
    assert batch.video_mask[1].tolist() == [True, True, False, False, False]
    assert words(batch.caption("audio_visual")) == [[], [], []]


def test_pieces_hold_all_clips_once(batch):
    pieces = batch.pieces(2)
    assert [len(piece) for piece in pieces] == [2, 1]
    assert torch.equal(torch.cat([piece.latents for piece in pieces]), batch.latents)
    assert words(pieces[0].captions["visual"]) == [[1], [2, 3, 4]]
    assert words(pieces[1].transcript) == [[]]
    assert batch.part(torch.tensor([2, 0])).audio_frames.tolist() == [2, 4]
    assert batch.to("cpu").video_frames.tolist() == [5, 2, 0]


def test_the_same_words_are_known_whatever_the_padding():
    first = tokens([5, 6], [6, 5], [5, 6, 0], [], [5]).same()
    second = tokens([5], [1, 2, 3, 4, 5, 6, 7], [5, 6]).same()
    assert first[0] == second[2]
    assert first[4] == second[0]
    assert first[3] == -1
    known = [*first[[0, 1, 2, 4]].tolist(), second[1].item()]
    assert len(set(known)) == 5
    assert min(known) >= 0


def test_transcripts_stand_for_captions_as_often_as_asked(batch):
    never = with_transcripts(batch, 0.0, torch.Generator())
    assert words(never.captions["audio"]) == [[7, 8], [9], []]  # there is no other for the second clip
    always = with_transcripts(batch, 1.0, torch.Generator())
    assert words(always.captions["audio"]) == [[5, 6, 7], [9], []]
    assert words(always.captions["visual"]) == [[1], [2, 3, 4], []]
    random = torch.Generator().manual_seed(0)
    said = sum(
        words(with_transcripts(batch, 0.3, random).captions["audio"])[0] == [5, 6, 7] for _ in range(400)
    )
    assert said == pytest.approx(120, abs=30)
    without = replace(batch, transcript=None)
    assert with_transcripts(without, 1.0, random) is without


def test_pictures_are_spread_as_the_video_reader_does(batch):
    spread = spread_frames(batch, 3)
    assert spread.video[:2, :, 0].tolist() == [[0, 2, 4], [5, 5, 6]]  # the second clip has two
    assert spread.video_frames.tolist() == [3, 3, 0]
    assert spread_frames(batch, None) is batch
    many = replace(
        batch,
        video=torch.arange(100.0).view(1, 100, 1).expand(3, -1, -1),
        video_frames=torch.tensor([100, 31, 1]),
    )
    for clip, total in enumerate((100, 31, 1)):
        expected = [int(i * (total - 1) / 15) for i in range(16)]
        assert spread_frames(many, 16).video[clip, :, 0].tolist() == expected
    none = replace(batch, video=batch.video[:, :0], video_frames=torch.zeros(3, dtype=torch.int64))
    assert spread_frames(none, 16) is none


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio_frames": torch.tensor([5, 0, 2])}, "got clips of 0 to 5 frames in latents, expected from 0"),
        ({"video_frames": torch.tensor([1, 2])}, "of 3 clips"),
        (
            {"captions": {"sound": tokens([1], [1], [1])}},
            "got captions of kind 'sound', expected audio, visual",
        ),
        ({"captions": {"audio": tokens([1], [1])}}, "got audio ids (2, 1)"),
        ({"transcript": tokens([1])}, "got transcript ids (1, 1)"),
    ],
)
def test_what_does_not_fit_is_refused(batch, changes, message, refusal):
    assert message in refusal(OptionError, replace, batch, **changes)


def test_odd_numbers_are_refused(batch, refusal):
    assert "got pieces of 0 clips" in refusal(OptionError, batch.pieces, 0)
    assert "got a probability of transcripts of 2" in refusal(
        OptionError, with_transcripts, batch, 2, torch.Generator()
    )
