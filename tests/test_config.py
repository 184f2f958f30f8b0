from dataclasses import dataclass, field
from pathlib import Path

import pytest

import peaframe.recipes
from peaframe.config import as_dict, build, load
from peaframe.errors import ConfigError
from peaframe.train.mini import Settings, TrainConfig


@dataclass(frozen=True)
class Optim:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    steps: int = 10


@dataclass(frozen=True)
class Run:
    name: str
    optim: Optim = field(default_factory=Optim)
    fast: bool = False
    limit: float | None = None
    sources: tuple[str, ...] = ()
    folder: Path = Path("runs")


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_values_are_built_with_their_defaults():
    assert build(Run, {"name": "a"}) == Run("a")
    values = {"name": "a", "optim": {"steps": 3}, "limit": 2, "sources": ["x", "y"], "folder": "out"}
    assert build(Run, values) == Run("a", Optim(steps=3), False, 2.0, ("x", "y"), Path("out"))


def test_a_file_is_read_and_overridden(write):
    path = write("# a run\nname: first\noptim:\n  lr: 1e-4\n  betas: [0.8, 0.9]\n")
    assert load(Run, path) == Run("first", Optim(1e-4, (0.8, 0.9)))
    overrides = ["name=second", "optim.lr=5e-5", "fast=true", "limit=1.5", "sources=[a, b]", "optim.steps=7"]
    expected = Run("second", Optim(5e-5, (0.8, 0.9), 7), True, 1.5, ("a", "b"))
    assert load(Run, path, overrides) == expected


def test_later_overrides_win(write):
    assert load(Run, write("name: a"), ["name=b", "name=c"]).name == "c"


def test_an_override_may_open_a_section(write):
    assert load(Run, write("name: a"), ["optim.steps=2"]).optim.steps == 2
    assert load(Run, write("name: a\noptim:\n"), ["optim.steps=2"]).optim.steps == 2


def test_as_dict_and_back():
    run = Run("a", Optim(betas=(0.5, 0.6)), True, None, ("x",), Path("out"))
    values = as_dict(run)
    assert values == {
        "name": "a",
        "optim": {"lr": 1e-3, "betas": [0.5, 0.6], "steps": 10},
        "fast": True,
        "limit": None,
        "sources": ["x"],
        "folder": "out",
    }
    assert build(Run, values) == run


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nam": "a"}, "unknown key 'nam'; did you mean 'name'?"),
        ({"name": "a", "optim": {"stesp": 1}}, "unknown key 'optim.stesp'; did you mean 'steps'?"),
        ({"name": "a", "qqqq": 1}, "unknown key 'qqqq'; expected one of name, optim, fast"),
        ({"name": "a", 5: 1}, "unknown key"),
        ({}, "key 'name' is missing"),
        ({"name": 5}, "key 'name': got 5, expected str"),
        ({"name": None}, "key 'name': got None, expected str"),
        ({"name": "a", "fast": 1}, "key 'fast': got 1, expected bool"),
        ({"name": "a", "optim": 3}, "key 'optim': got 3, expected keys of Optim"),
        ({"name": "a", "optim": {"betas": 1}}, "key 'optim.betas': got 1, expected a list, such as [a, b]"),
        ({"name": "a", "optim": {"steps": True}}, "key 'optim.steps': got True, expected int"),
        ({"name": "a", "optim": {"steps": 2.5}}, "key 'optim.steps': got 2.5, expected int"),
        ({"name": "a", "optim": {"lr": "fast"}}, "key 'optim.lr': got 'fast', expected float"),
        ({"name": "a", "optim": {"lr": False}}, "key 'optim.lr': got False, expected float"),
        ({"name": "a", "optim": {"betas": [0.9]}}, "key 'optim.betas': got [0.9]"),
        ({"name": "a", "optim": {"betas": [0.9, "x"]}}, "key 'optim.betas[1]': got 'x', expected float"),
        ({"name": "a", "sources": "x"}, "key 'sources': got 'x'"),
        ({"name": "a", "sources": [1]}, "key 'sources[0]': got 1, expected str"),
        ({"name": "a", "limit": "x"}, "key 'limit': got 'x', expected float"),
        ({"name": "a", "folder": 3}, "key 'folder': got 3, expected Path"),
    ],
)
def test_wrong_values_are_named(refusal, values, message):
    assert message in refusal(ConfigError, build, Run, values)


@pytest.mark.parametrize(
    "text", ["", "5", "- a\n- b", "a: [", "a: b: c\nd", "\tname: a", b"\xff\xfe\x00name"]
)
def test_what_is_no_yaml_mapping_is_refused(write, refusal, text):
    path = write(text)
    assert str(path) in refusal(ConfigError, load, Run, path)


def test_a_missing_file_is_refused(tmp_path, refusal):
    assert "not a readable YAML file" in refusal(ConfigError, load, Run, tmp_path / "missing.yaml")
    assert "not a readable YAML file" in refusal(ConfigError, load, Run, tmp_path)


@pytest.mark.parametrize(
    "override", ["name", "--fast", "name.x=1", "optim.lr.x=1", "name=[", "optm.lr=1", "=3", ""]
)
def test_wrong_overrides_are_refused(write, refusal, override):
    refusal(ConfigError, load, Run, write("name: a\noptim:\n  lr: 1e-4\n"), [override])


def test_the_built_in_models_recipe_loads():
    folder = Path(peaframe.recipes.__path__[0]) / "configs"
    settings = load(Settings, folder / "mini.yaml", ["train.p_local=1.0", "mix.augment.cut=0"])
    assert settings.train.p_local == 1.0
    assert settings.mix.augment.cut == 0.0
    assert settings.exclude_sources
    assert build(Settings, as_dict(settings)) == settings


def test_defaults_survive_a_round_trip():
    settings = Settings(TrainConfig(steps=5))
    assert build(Settings, as_dict(settings)) == settings
