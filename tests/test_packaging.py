"""What gets installed: the packages of the tree, all of them, and nothing else."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "peaframe": "peaframe",
    "eval": "peaframe.eval",
    "recipes": "peaframe.recipes",
    "cli": "peaframe.cli",
}
MEGABYTE = 1_000_000


def tree():
    """Package names of the folders that hold an `__init__.py`."""
    for folder, package in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            yield ".".join((package, *init.parent.relative_to(ROOT / folder).parts))


def sources():
    """Every module as it is named in the wheel."""
    for folder, package in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            yield str(PurePosixPath(package.replace(".", "/"), *file.relative_to(ROOT / folder).parts))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and a source archive, made from what the tree holds, without the network."""
    folder = tmp_path_factory.mktemp("built")
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(copy_of_tree(folder)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def copy_of_tree(folder):
    """The tree without what builds leave in it: nothing stale is packed, nothing left behind."""
    target = folder / "tree"
    leavings = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    target.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target)
    for name in ("peaframe", "eval", "recipes", "cli", "tests"):
        shutil.copytree(ROOT / name, target / name, ignore=leavings)
    return target


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


def test_the_package_list_is_the_tree():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^packages = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
    assert sorted(re.findall(r'"(.*?)"', listed)) == sorted(tree())


def test_every_folder_with_code_is_a_package():
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), f"{file} lies in no package"


@pytest.mark.slow
def test_the_wheel_holds_every_module(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if name.endswith(".py")} == set(sources())


@pytest.mark.slow
def test_the_wheel_holds_the_model_and_the_type_marker(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    model = {f"peaframe/models/mini/{file.name}" for file in (ROOT / "peaframe/models/mini").iterdir()}
    needed = {
        f"peaframe/models/mini/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json")
    }
    assert needed <= model <= names
    assert "peaframe/py.typed" in names


@pytest.mark.slow
def test_the_wheel_puts_one_name_into_site_packages(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"peaframe", next(top for top in tops if top.endswith(".dist-info"))}


@pytest.mark.slow
def test_the_wheel_carries_licence_command_and_one_version(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = archive.read(f"{info}/METADATA").decode()
        commands = archive.read(f"{info}/entry_points.txt").decode()
        version = archive.read("peaframe/version.py").decode()
        assert f"{info}/licenses/LICENSE" in archive.namelist()
        assert f"{info}/licenses/NOTICE" in archive.namelist()
    assert "License-Expression: Apache-2.0" in metadata
    assert "peaframe = peaframe.cli.main:main" in commands
    (number,) = re.findall(r"^Version: (.*)$", metadata, re.MULTILINE)
    assert f'__version__ = "{number}"' in version


@pytest.mark.slow
def test_the_wheel_stays_small(wheel):
    assert wheel.stat().st_size < 60 * MEGABYTE


@pytest.mark.slow
def test_the_source_archive_can_build_the_same(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "NOTICE",
        "README.md",
        "peaframe/models/mini/model.safetensors",
    } <= names
    for folder in FOLDERS:
        assert {str(file.relative_to(ROOT)) for file in (ROOT / folder).rglob("*.py")} <= names
