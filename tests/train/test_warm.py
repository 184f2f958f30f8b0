import numpy as np
import pytest
import torch

from peaframe.train.warm import FrameBank, frame_bank


@pytest.fixture
def listen(tiny_model, teacher):
    """What the trainer lets the bank hear."""

    def listen(waveform):
        features, deep = tiny_model.front.features(tiny_model.front.log_mel(waveform))
        return features, teacher.scores(deep)

    return listen


@pytest.fixture
def bank(listen, make_dataset):
    return frame_bank(listen, make_dataset(0), 30, 0.64, 1.92, 0, seed=5)


def test_a_bank_holds_what_the_front_end_and_the_teacher_heard(bank, tiny_model, teacher, make_dataset):
    assert [tuple(part.shape) for part in (bank.features, bank.targets, bank.taught)] == [
        (30, 3 * 2_688),
        (30, 3),
        (30, 2),
    ]
    waveform, targets = make_dataset(0)[2**30 * 1000, 0.64]
    features, _ = tiny_model.front.features(tiny_model.front.log_mel(waveform[None]))
    for row in range(4):  # the first four frames are of the first scene
        distance = (features[0] - bank.features[row].float()).abs().amax(dim=1)
        frame = int(distance.argmin())
        assert distance[frame] < 0.02
        assert torch.equal(bank.targets[row], targets[frame])
        expected = teacher(waveform[None])[0, frame]
        torch.testing.assert_close(bank.taught[row].float(), expected, atol=1e-3, rtol=0)


def test_most_frames_of_a_bank_are_where_something_is_heard(listen, make_dataset):
    bank = frame_bank(listen, make_dataset(0), 200, 2.56, 12.8, 0, seed=5)
    assert (bank.targets > 0).any(dim=1).float().mean() > 0.7


def test_the_same_seed_keeps_the_same_frames(bank, listen, make_dataset):
    again = frame_bank(listen, make_dataset(0), 30, 0.64, 1.92, 0, seed=5)
    assert torch.equal(bank.features, again.features)
    other = frame_bank(listen, make_dataset(0), 30, 0.64, 1.92, 0, seed=6)
    assert not torch.equal(bank.features, other.features)


def test_batches_depend_on_the_step_alone():
    rows = torch.arange(50)
    bank = FrameBank(rows[:, None].half(), rows[:, None].to(torch.int8), rows[:, None].half())
    whole = [batch[0] for batch in bank.batches(8, 0, 6, seed=1)]
    parts = [batch[0] for batch in (*bank.batches(8, 0, 2, seed=1), *bank.batches(8, 2, 6, seed=1))]
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert len({tuple(batch.flatten().tolist()) for batch in whole}) == 6
    features, targets, taught = next(bank.batches(8, 0, 1, seed=1))
    assert features.shape == targets.shape == taught.shape == (8, 1, 1)
    assert features.dtype == torch.float32
    np.testing.assert_array_equal(features, targets)
