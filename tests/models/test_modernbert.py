import numpy as np
import pytest
import torch

from peaframe.models.modernbert import ModernBert, ModernBertConfig

CONFIG = ModernBertConfig(64, 24, 4, 3, 32, window=8)


@pytest.fixture
def text():
    torch.manual_seed(0)
    return ModernBert(CONFIG).eval().double()


def batch(*lengths):
    generator = np.random.default_rng(0)
    rows = [torch.from_numpy(generator.integers(0, 64, n)) for n in lengths]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    return ids, mask.long()


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(3, 9), (1, 40), (2, 5, 30)])
def test_a_text_is_the_same_in_any_batch(text, lengths):
    """Tokens of the padding that lies further behind a text than a window reaches see nothing of it."""
    ids, mask = batch(*lengths)
    together = text(ids, mask)
    assert together.isfinite().all()
    for i, length in enumerate(lengths):
        alone = text(ids[i : i + 1, :length], mask[i : i + 1, :length])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-12, rtol=0)


@torch.no_grad()
def test_the_first_token_hears_all_through_global_layers(text):
    ids, mask = batch(40)
    changed = ids.clone()
    changed[0, -1] = (changed[0, -1] + 1) % 64
    assert not torch.allclose(text(ids, mask), text(changed, mask), atol=1e-9)


@torch.no_grad()
def test_local_layers_see_half_a_window_on_each_side(text):
    text.layers = text.layers[1:2]
    ids, mask = batch(12)
    for place, heard in ((4, True), (5, False)):
        changed = ids.clone()
        changed[0, place] = (changed[0, place] + 1) % 64
        assert torch.allclose(text(ids, mask), text(changed, mask), atol=1e-12) is not heard
