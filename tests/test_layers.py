"""The arrows of docs/architecture.md: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# peaframe <- eval <- recipes <- cli: each may import what stands to its left.
HOUSES = ("peaframe", "peaframe.eval", "peaframe.recipes", "peaframe.cli")

# Inside peaframe/, a floor imports only floors below it (and its own room).
FLOORS = {
    "version": 0,
    "errors": 0,
    "config": 0,
    "clock": 0,
    "events": 0,
    "spans": 0,
    "video": 0,
    "archive": 0,
    "scores": 0,
    "audio": 0,
    "boxes": 0,
    "calibration": 0,
    "files": 0,
    "formats": 0,
    "queries": 0,
    "json_files": 0,
    "codec": 1,
    "workers": 1,
    "models": 2,
    "infer": 3,
    "index": 3,
    "losses": 3,
    "data": 3,
    "train": 3,
    "annotate": 4,
    "captions": 4,
}
LEARNING = ("losses", "data", "train")
HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "torchaudio", "matplotlib"}
RESEARCH = {"sed_eval", "ray", "jax", "jaxlib"}  # each of the far rooms' own business


def modules():
    """(module name, file) of all that is installed."""
    for house in HOUSES:
        folder = ROOT / house.rpartition(".")[2]
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            yield ".".join((house, *parts)).removesuffix(".__init__"), file


MODULES = dict(modules())


def imports(module):
    """Names of all modules that a module imports anywhere; `import a.b` and `from a import b` give a.b."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import; say peaframe..."
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def house(module):
    """Which of `HOUSES` a module belongs to, by number."""
    return max(i for i, name in enumerate(HOUSES) if module == name or module.startswith(name + "."))


def room(module):
    return module.split(".")[1] if "." in module else None


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    for other in imports(module):
        assert other.split(".")[0] not in {"eval", "recipes", "cli", "tests"}, f"{module} imports {other}"
        if other.split(".")[0] == "peaframe":
            assert house(other) <= house(module), f"{module} imports {other}"


@pytest.mark.parametrize("module", [name for name in MODULES if house(name) == 0 and room(name)])
def test_floors_import_only_floors_below(module):
    for other in imports(module):
        if other.split(".")[0] != "peaframe" or room(other) in (None, room(module)):
            continue
        below = FLOORS[room(other)] < FLOORS[room(module)]
        neighbours = FLOORS[room(module)] == 0 or {room(module), room(other)} <= set(LEARNING)
        assert below or (neighbours and FLOORS[room(other)] == FLOORS[room(module)]), (
            f"{module} imports {other}"
        )


@pytest.mark.parametrize("module", [name for name in MODULES if FLOORS.get(room(name)) == 0])
def test_the_ground_floor_knows_no_torch(module):
    assert not {other.split(".")[0] for other in imports(module)} & (HEAVY | RESEARCH)


@pytest.mark.parametrize("module", MODULES)
def test_ray_stays_in_its_file(module):
    if module != "peaframe.workers.cluster":
        assert "ray" not in {other.split(".")[0] for other in imports(module)}


def test_every_room_has_a_floor():
    rooms = {room(name) for name in MODULES if house(name) == 0} - {None}
    assert rooms == set(FLOORS)


def heavy_after(code):
    """Which of the heavy packages a fresh interpreter has loaded after running some code."""
    code += f"\nimport sys\nprint('loaded:', *sorted({HEAVY | RESEARCH} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].removeprefix("loaded:").split()


@pytest.mark.parametrize(
    "code",
    [
        "import peaframe",
        "import peaframe; peaframe.Event, peaframe.Scores, peaframe.events_from_scores",
        "import peaframe.audio, peaframe.formats, peaframe.models",
        "from peaframe.cli.main import main; main(['models'])",
        "from peaframe.cli.main import main; main(['detect'])",
        "from peaframe.cli.main import main; main(['detect', 'missing.wav', 'siren'])",
        "from peaframe.cli.main import main; main(['annotate', 'missing', '--query', 'siren', '--output', 'out'])",
        "import peaframe.annotate.run",
        "from peaframe.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from peaframe.cli.main import main\ntry: main(['detect', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_torch_waits_until_it_is_needed(code):
    assert heavy_after(code) == []


def test_importing_changes_nothing_around_it():
    code = """
import logging, os, random
before = dict(os.environ), random.getstate(), list(logging.getLogger().handlers)
import peaframe, peaframe.audio, peaframe.formats, peaframe.cli.main
assert before == (dict(os.environ), random.getstate(), list(logging.getLogger().handlers))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
