"""The recipe from end to end, on files of the layouts it reads."""

import sys

import h5py
import numpy as np
import pytest

from peaframe.data.teacher_scores import open_teacher
from peaframe.errors import FormatError, MissingExtraError, OptionError
from peaframe.eval.tables import ScoreTable, write_table
from peaframe.recipes import prepare_teacher
from peaframe.recipes.prepare_teacher import logits_of
from peaframe.scores import Scores

CLASSES = ("Bark", "Bell", "Wind")


@pytest.fixture
def prepare(tmp_path, capsys):
    """Run the recipe; gives the teacher and the line it printed."""

    def prepare(*arguments):
        prepare_teacher.main([*map(str, arguments), "--out", str(tmp_path / "out")])
        return open_teacher(tmp_path / "out"), capsys.readouterr().out.strip()

    return prepare


@pytest.fixture
def names(tmp_path):
    """A class a line."""
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{name}\n" for name in CLASSES))
    return path


@pytest.fixture
def audioset(tmp_path):
    """AudioSet-Strong's tables: four labels, three of them in the training table."""
    folder = tmp_path / "audioset/metadata"
    folder.mkdir(parents=True)
    (folder / "mid_to_display_name.tsv").write_text("/m/4\tAir\n/m/3\tWind\n/m/1\tBell\n/m/2\tBark\n")
    rows = [("-a_b_30000", "/m/3"), ("cd_0", "/m/1"), ("cd_0", "/m/2"), ("cd_0", "/m/1")]
    head = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
    (folder / "audioset_train_strong.tsv").write_text(
        head + "".join(f"{segment}\t0.0\t1.0\t{label}\n" for segment, label in rows)
    )
    return tmp_path / "audioset"


def published(path, clips, classes=3, frames=250, chunks=None):
    """A file in PretrainedSED's layout; gives its logits (clips, classes, frames)."""
    rng = np.random.default_rng(len(clips))
    logits = rng.normal(0, 4, (len(clips), classes, frames)).astype(np.float16)
    with h5py.File(path, "w") as file:
        file["filenames"] = np.array(clips, dtype=h5py.string_dtype())
        file.create_dataset("strong_logits", data=logits, chunks=chunks)
    return logits


# --- PretrainedSED's logits


def test_published_logits_become_a_teacher(prepare, names, tmp_path):
    clips = [f"Yid-{i}.mp3" for i in range(70)]  # more than one block
    logits = published(tmp_path / "one.h5", clips, chunks=(3, 3, 50))
    teacher, line = prepare("h5", tmp_path / "one.h5", "--names", names)
    assert teacher.labels == CLASSES
    assert list(teacher) == [f"Yid-{i}" for i in range(70)]
    for i in (0, 63, 64, 69):
        np.testing.assert_array_equal(teacher.get(f"Yid-{i}"), logits[i].T)
    assert teacher.model == "PretrainedSED ensemble"
    assert teacher.source == "one.h5 (PretrainedSED's HDF5 layout)"
    assert line.endswith("teacher.json: 70 recordings, 0.19 h, 3 labels")


def test_the_published_size_fits(prepare, tmp_path):
    (tmp_path / "names.txt").write_text("".join(f"/m/{i}\tclass {i}\n" for i in range(447)))
    logits = published(tmp_path / "one.h5", ["Ya.mp3", "Yb.mp3"], classes=447)
    teacher, _ = prepare("h5", tmp_path / "one.h5", "--names", tmp_path / "names.txt")
    assert teacher.labels[446] == "class 446"
    assert teacher.get("Yb").shape == (250, 447)
    np.testing.assert_array_equal(teacher.rows("Yb", 100, 2)[0], logits[1].T[100:102])


def test_several_files_are_one_teacher_without_doubles(prepare, names, tmp_path):
    first = published(tmp_path / "1.h5", ["Ya.mp3"])
    second = published(tmp_path / "2.h5", ["Yb.mp3", "Yc.mp3"])
    teacher, _ = prepare("h5", tmp_path / "1.h5", tmp_path / "2.h5", "--names", names, "--model", "m")
    assert list(teacher) == ["Ya", "Yb", "Yc"]
    assert teacher.model == "m"
    np.testing.assert_array_equal(teacher.get("Ya"), first[0].T)
    np.testing.assert_array_equal(teacher.get("Yc"), second[1].T)


def test_doubles_over_files_are_refused(prepare, names, tmp_path):
    published(tmp_path / "1.h5", ["Ya.mp3"])
    published(tmp_path / "2.h5", ["Yb.mp3", "Ya.wav"])
    with pytest.raises(OptionError, match="'Ya' twice"):
        prepare("h5", tmp_path / "1.h5", tmp_path / "2.h5", "--names", names)
    assert not (tmp_path / "out").exists()


def test_classes_are_the_training_tables_labels_sorted_by_name(prepare, audioset, tmp_path):
    logits = published(tmp_path / "one.h5", ["Y-a_b.mp3", "Ycd.mp3"])
    teacher, _ = prepare("h5", tmp_path / "one.h5", "--names", audioset)
    assert teacher.labels == CLASSES
    assert list(teacher) == ["Y-a_b", "Ycd"]
    np.testing.assert_array_equal(teacher.get("Y-a_b")[:, 2], logits[0, 2])


def test_clips_can_be_called_after_their_segments(prepare, audioset, names, tmp_path):
    logits = published(tmp_path / "one.h5", ["Y-a_b.mp3", "Ystranger.mp3", "Ycd.mp3"])
    with pytest.raises(OptionError, match="expected AudioSet-Strong's folder"):
        prepare("h5", tmp_path / "one.h5", "--names", names, "--segments")
    teacher, _ = prepare("h5", tmp_path / "one.h5", "--names", audioset, "--segments")
    assert list(teacher) == ["-a_b_30000", "cd_0"]
    np.testing.assert_array_equal(teacher.get("cd_0"), logits[2].T)


def test_another_layout_is_refused_by_name(prepare, names, tmp_path):
    path = tmp_path / "one.h5"
    published(path, ["Ya.mp3"], classes=4)
    with pytest.raises(FormatError, match="got 4 classes of 250 frames, and --names gives 3"):
        prepare("h5", path, "--names", names)
    with h5py.File(path, "w") as file:
        file["filenames"] = [b"Ya.mp3"]
        file["logits"] = np.zeros((1, 3, 250), np.float16)
    with pytest.raises(FormatError, match="no dataset 'strong_logits' but filenames, logits"):
        prepare("h5", path, "--names", names)
    with h5py.File(path, "w") as file:
        file["filenames"] = [b"Ya.mp3"]
        file["strong_logits"] = np.zeros((2, 3, 250), np.float16)
    with pytest.raises(FormatError, match=r"got filenames \(1,\) and strong_logits \(2, 3, 250\)"):
        prepare("h5", path, "--names", names)
    path.write_bytes(b"no HDF5")
    with pytest.raises(FormatError, match="cannot be read as HDF5"):
        prepare("h5", path, "--names", names)
    assert not (tmp_path / "out").exists()


def test_tables_that_are_missing_or_do_not_fit_are_named(prepare, audioset, tmp_path):
    published(tmp_path / "one.h5", ["Ya.mp3"])
    (audioset / "metadata/mid_to_display_name.tsv").write_text("/m/3\tWind\n/m/1\tBell\n")
    with pytest.raises(FormatError, match=r"audioset_train_strong\.tsv:4: got the label '/m/2'"):
        prepare("h5", tmp_path / "one.h5", "--names", audioset)
    (audioset / "metadata/audioset_train_strong.tsv").unlink()
    with pytest.raises(FormatError, match=r"got no audioset_train_strong\.tsv"):
        prepare("h5", tmp_path / "one.h5", "--names", audioset)
    with pytest.raises(FormatError, match=r"none\.txt: cannot be read"):
        prepare("h5", tmp_path / "one.h5", "--names", tmp_path / "none.txt")


def test_without_h5py_it_says_what_to_install(prepare, names, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"needs h5py.*pip install 'peaframe\[train\]'"):
        prepare("h5", tmp_path / "one.h5", "--names", names)


# --- our own scores


def probabilities(frames, labels=3, seed=0):
    return np.random.default_rng(seed).uniform(0.001, 0.999, (frames, labels)).astype(np.float32)


def logit(p):
    p = np.asarray(p, np.float64)
    return np.log(p / (1 - p))


def test_scores_of_both_kinds_become_logits(prepare, tmp_path):
    folder = tmp_path / "big-model"
    (folder / "sub").mkdir(parents=True)
    a, b = probabilities(250), probabilities(6, seed=1)
    Scores(a, CLASSES).save(folder / "Ya.npz")
    write_table(folder / "sub/b.v2.flac.tsv", Scores(b[:, ::-1], CLASSES[::-1], duration=0.21))
    teacher, line = prepare("scores", folder)
    assert teacher.labels == CLASSES
    assert list(teacher) == ["Ya", "b.v2"]
    np.testing.assert_allclose(teacher.get("Ya"), logit(a), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(teacher.get("b.v2"), logit(b), rtol=1e-3, atol=1e-3)
    assert (teacher.model, teacher.source) == ("big-model", f"scores in {folder}")
    assert line.endswith("2 recordings, 0.00 h, 3 labels")


def test_certain_scores_are_clipped():
    table = ScoreTable(np.array([[0, 1], [1e-9, 0.5]], np.float32), ("a", "b"), np.array([0, 0.04, 0.08]))
    assert logits_of(table).tolist() == [[-16, 16], [-16, 0]]


def test_a_finer_grid_is_averaged():
    edges = np.arange(0, 9) / 50  # two frames to one of ours
    values = np.array([[0.1], [0.3], [0.5], [0.9], [0.2], [0.2], [0.6], [0.8]], np.float32)
    got = logits_of(ScoreTable(values, ("a",), edges))
    np.testing.assert_allclose(got[:, 0], logit([0.2, 0.7, 0.2, 0.7]), rtol=1e-3)


def test_a_grid_that_does_not_fit_ours_is_averaged_by_the_time_it_covers():
    edges = np.array([0, 0.05, 0.10, 0.11])  # ours: 0, 0.04, 0.08 and 0.11, the end
    values = np.array([[0.2], [0.6], [0.9]], np.float32)
    got = logits_of(ScoreTable(values, ("a",), edges))
    want = [0.2, (0.01 * 0.2 + 0.03 * 0.6) / 0.04, (0.02 * 0.6 + 0.01 * 0.9) / 0.03]
    np.testing.assert_allclose(got[:, 0], logit(want), rtol=1e-3, atol=1e-6)


def test_a_coarser_grid_is_repeated():
    table = ScoreTable(np.array([[0.2], [0.6]], np.float32), ("a",), np.array([0, 1.0, 2.0]))
    got = logits_of(table)[:, 0]
    assert got.shape == (50,)
    np.testing.assert_allclose(got, logit([0.2] * 25 + [0.6] * 25), rtol=1e-3)


def test_the_mean_is_that_of_a_direct_sum_on_any_grid():
    rng = np.random.default_rng(3)
    edges = np.concatenate([[0], np.cumsum(rng.uniform(0.003, 0.3, 60))])
    values = probabilities(60, 2)
    got = logits_of(ScoreTable(values, ("a", "b"), edges))
    ours = np.append(np.arange(len(got)) / 25, edges[-1])
    assert ours[-2] < ours[-1] <= ours[-2] + 0.04 + 1e-5
    shared = np.minimum(ours[1:, None], edges[1:]) - np.maximum(ours[:-1, None], edges[:-1])
    want = np.clip(shared, 0, None) @ values / np.diff(ours)[:, None]
    np.testing.assert_allclose(got, logit(want), rtol=1e-3, atol=1e-3)


def test_scores_that_cannot_teach_are_refused(prepare, tmp_path):
    folder = tmp_path / "scores"
    with pytest.raises(FormatError, match="got no scores in it"):
        prepare("scores", folder)
    folder.mkdir()
    table = folder / "b.tsv"
    (folder / "a.tsv").write_text("onset\toffset\tBark\n0\t0.04\t0.5\n")
    (folder / ".left.tsv").write_text("")
    table.write_text("onset\toffset\tBark\n0\t0.04\t1.5\n")
    with pytest.raises(FormatError, match=r"b\.tsv: got scores from 1\.5 to 1\.5, expected probabilities"):
        prepare("scores", folder)
    table.write_text("onset\toffset\tBark\n1\t1.04\t0.5\n")
    with pytest.raises(FormatError, match=r"b\.tsv: got scores from 1 s on"):
        prepare("scores", folder)
    table.write_text("onset\toffset\tBell\n0\t0.04\t0.5\n")
    with pytest.raises(FormatError, match=r"b\.tsv: has other labels than a\.tsv \('Bark'\)"):
        prepare("scores", folder)
    table.unlink()
    Scores(probabilities(1, 1), ("Bark",)).save(folder / "a.npz")
    with pytest.raises(OptionError, match="'a' twice"):
        prepare("scores", folder)
    assert not (tmp_path / "out").exists()


def test_what_the_model_says_is_what_the_teacher_says(prepare, tmp_path):
    """The built-in model's own scores of real sound, through a file of detect, and back."""
    import peaframe

    noise = np.random.default_rng(0).normal(0, 0.1, 48_000 * 2 + 700).astype(np.float32)
    scores = peaframe.load().score(noise, ["rain", "dog"])
    (tmp_path / "scores").mkdir()
    scores.save(tmp_path / "scores/noise.npz")
    teacher, _ = prepare("scores", tmp_path / "scores")
    logits = teacher.get("noise").astype(np.float64)
    assert logits.shape == (51, 2)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), scores.values, atol=1e-3)
