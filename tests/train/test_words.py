"""The text side learns on kept embeddings; what hears stays as it is."""

from dataclasses import replace

import pytest
import torch

from peaframe.train.words import WordsConfig, learn_words

CONFIG = WordsConfig(steps=40, hidden=16, frames=60, scene_seconds=0.64, batch=16, lr=3e-3, distractors=4)


@pytest.fixture
def learn(tiny_model, table, make_dataset):
    def learn(config=CONFIG, seed=0):
        return learn_words(tiny_model, table, make_dataset(0), config, 1.92, 0, seed)

    return learn


def queries(model):
    with torch.no_grad():
        return model.encode_text(["a beep", "rain", "hum"])


def test_the_model_given_stays_as_it_was_and_its_ears_are_kept(learn, tiny_model):
    start = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    learned = learn().state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in tiny_model.state_dict().items())
    changed = {name for name in start if not torch.equal(start[name], learned[name])}
    assert changed
    assert all(name.startswith(("text_head.", "logit_")) for name in changed)
    assert {name.split(".")[0] for name in set(learned) - set(start)} == {"text_adapter"}
    assert tiny_model.text_adapter is None


def test_it_can_be_built_again_from_its_configuration(learn, tiny_model):
    learned = learn()
    assert learned.config == replace(tiny_model.config, text_hidden=16)
    again = type(tiny_model)(learned.config, tiny_model.tokenizer).eval()
    again.load_state_dict(learned.state_dict())
    assert torch.equal(queries(again), queries(learned))


def test_no_share_changes_nothing_that_is_heard(learn, tiny_model):
    learned = learn(replace(CONFIG, share=0.0))
    torch.testing.assert_close(queries(learned), queries(tiny_model), atol=1e-4, rtol=0)
    assert torch.equal(learned.logit_bias, tiny_model.logit_bias)


def test_half_a_share_lies_between(learn, tiny_model):
    whole, half = learn(replace(CONFIG, share=1.0)), learn()
    middle = (whole.text_head.proj.weight + tiny_model.text_head.proj.weight) / 2
    torch.testing.assert_close(half.text_head.proj.weight, middle)
    torch.testing.assert_close(2 * half.text_adapter.down.weight, whole.text_adapter.down.weight)


def test_the_loss_falls(learn, table, make_dataset, tiny_model):
    waveform, targets = zip(*(make_dataset(0)[i, 0.64] for i in range(24)), strict=True)
    heard, wanted = torch.stack(waveform), torch.stack(targets).float()

    def loss(model):
        with torch.no_grad():
            logits = model.score(model.encode_decimated(heard), model.encode_text(["beep", "buzz", "rain"]))
        return float((torch.nn.functional.softplus(-wanted * logits) * wanted.abs()).mean())

    assert loss(learn(replace(CONFIG, steps=150, share=1.0))) < 0.8 * loss(tiny_model.eval())


def test_the_same_seed_gives_the_same_words(learn):
    assert torch.equal(queries(learn()), queries(learn()))
    assert not torch.equal(queries(learn()), queries(learn(seed=1)))
