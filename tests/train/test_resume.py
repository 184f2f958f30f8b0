import json
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from peaframe.errors import CheckpointError, ConfigError, FormatError, OptionError
from peaframe.models import load_model
from peaframe.train.resume import clear_up, cut_log, read_facts, whole_folder

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "finetuning.py")))
pytestmark = pytest.mark.usefixtures("one_thread")
EVERYTHING = {
    "precision": "bfloat16",
    "accumulate": 2,
    "lora": {"rank": 2, "dropout": 0.2},
    "learn": ["front", "heads", "scale"],
    "loss": {"clip_weight": 0.5, "prior_weight": 0.1, "clusters": 2},
}
AUGMENT = {"mixup": 0.5, "time_masks": 2, "time_seconds": 0.2, "channel_mask": 0.1}
CASES = {
    "plain": {},
    "everything": {**EVERYTHING, "data": {"augment": AUGMENT, "negatives": 0, "other_labels": 1}},
    "text": {"learn": ["text", "audio", "heads"], "data": {"augment": AUGMENT}, "accumulate": 2},
    "sound": {"data": {"sound": True}, "schedule": {"steps": 6}},
}


@pytest.fixture
def command(start, tmp_path):
    """The command line of a run in a process of its own."""

    def command(out, *mode, **changes):
        config = runs.write_config(tmp_path / f"{out}.yaml", runs.values(*start, **changes))
        how = (runs.SCRIPT, *mode) if mode else ("-m", "peaframe.recipes.finetune")
        return [sys.executable, *map(str, (*how, config, "--out", tmp_path / out))]

    return command


def begin(command):
    return subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=-1, stdout=-1, text=True
    )


def ask(question, seconds=60):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(
    "case", [case if case == "everything" else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_all_steps_are_five_and_the_others(train, tmp_path, case):
    assert train("whole", **CASES[case])
    assert not train("parts", stop=5, **CASES[case])
    assert read_facts(tmp_path / "parts")["step"] == 5
    assert train("parts", **CASES[case])
    runs.same_run(tmp_path / "whole", tmp_path / "parts")
    tensors, facts = runs.state(tmp_path / "whole")
    steps = CASES[case].get("schedule", {"steps": 12})["steps"]
    assert (facts["step"], int(tensors["updates"]), facts["guard"]["taken"]) == (steps, steps, steps)
    moved = {name.split("/")[0] for name in tensors}
    assert moved == {"raw", "exp_avg", "exp_avg_sq", "step", "average", "updates"}


@pytest.mark.slow
def test_processes_that_prepare_batches_change_nothing(train, tmp_path):
    case = CASES["everything"]
    train("none", **case)
    two = {**case, "data": {**case["data"], "workers": 2}}
    assert not train("two", stop=5, **two)
    train("two", **two)
    runs.same_run(tmp_path / "none", tmp_path / "two")
    assert not train("mixed", stop=7, **two)
    train("mixed", **case)
    runs.same_run(tmp_path / "none", tmp_path / "mixed")


@pytest.mark.slow
def test_a_pe_a_frame_goes_on_too(start, train, golden_folder, tokenizer_file, tmp_path):
    shutil.rmtree(start[0])
    shutil.copytree(golden_folder / "pe_a_frame_original", start[0])
    shutil.copy(tokenizer_file, start[0] / "tokenizer.json")
    short = {"schedule": {"steps": 6}, "evaluate_every": 3}
    assert train("whole", **short)
    assert not train("parts", stop=4, **short)
    assert train("parts", **short)
    runs.same_run(tmp_path / "whole", tmp_path / "parts")
    before, after = load_model(start[0]).state_dict(), load_model(tmp_path / "whole" / "last").state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"audio", "audio_head", "text_head", "logit_scale", "logit_bias"}
    assert not [n for n in before if n.startswith("audio.codec") and not torch.equal(before[n], after[n])]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(train, command, tmp_path, number):
    changes = {"schedule": {"steps": 60}, "save_every": 1, "evaluate_every": 30}
    process = begin(command("signalled", **changes))
    ask((tmp_path / "signalled" / "resume.safetensors").exists)
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    last = f"stopped and saved in {tmp_path / 'signalled'}; the same command goes on"
    assert told.strip().splitlines()[-1] == last
    assert 1 <= read_facts(tmp_path / "signalled")["step"] < 60
    assert train("signalled", **changes)
    assert train("whole", **changes)
    runs.same_run(tmp_path / "whole", tmp_path / "signalled")


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once(command, tmp_path):
    process = begin(command("slow", "slowly", save_every=1))
    assert process.stdout.readline() == "in the second step\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "noted\n"
    assert process.poll() is None
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert time.monotonic() - before < 20
    assert process.returncode in (130, -signal.SIGINT)
    assert read_facts(tmp_path / "slow")["step"] == 1


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments(start, tmp_path):
    changes = {"schedule": {"steps": 60}, "save_every": 1, "evaluate_every": 2}
    config = runs.write_config(tmp_path / "config.yaml", runs.values(*start, **changes))
    done = subprocess.run(
        [sys.executable, str(runs.SCRIPT), "killed", str(config), str(tmp_path), "20", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["kills"]) == 20
    assert len({step for step, _ in told["kills"]}) >= 5
    for name in told["ended"]:
        runs.same_run(tmp_path / "whole", tmp_path / name)
        assert runs.leftovers(tmp_path / name) == []


@pytest.fixture
def no_room():
    """Call to let no file grow beyond some bytes."""
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "file"), [({"evaluate_every": 99}, "resume.safetensors"), ({"save_every": 99}, "last")]
)
def test_a_full_disk(train, refusal, tmp_path, no_room, changes, file):
    assert not train("run", stop=5, **changes)
    kept = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.safetensors")}
    no_room(20_000)
    message = refusal(FormatError, train, "run", **changes)
    no_room(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert message.startswith(f"{tmp_path / 'run' / file}: cannot be written (")
    assert "make room and go on" in message
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.safetensors")} == kept
    assert runs.leftovers(tmp_path / "run") == []
    assert train("run", **changes)
    assert train("whole", **changes)
    runs.same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_the_command_says_in_one_line_that_the_disk_is_full(train, command, tmp_path):
    assert not train("run", stop=5)
    before = runs.state(tmp_path / "run")
    process = begin(command("run", "full", 20_000))
    told = process.communicate(timeout=60)[1]
    lines = [line for line in told.splitlines() if line and not line.startswith(("train", "step"))]
    assert process.returncode == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"peaframe: error: {tmp_path / 'run' / 'last'}: cannot be written (")
    after = runs.state(tmp_path / "run")
    assert (runs.unlike(before[0], after[0]), before[1]) == ([], after[1])


def test_other_settings_are_refused_by_name(train, refusal):
    assert not train("run", stop=2)
    changes = {"optim": {"lr": 2e-3}, "accumulate": 2, "data": {"batch_size": 2}}
    message = refusal(ConfigError, train, "run", **changes)
    assert message.endswith(
        "holds a run with other settings (accumulate, data, optim); choose another --out, or remove it"
    )
    free = {"save_every": 7, "evaluate_every": 12, "parallel": "fsdp", "device": "auto"}
    assert train("run", **free)


def test_another_base_model_is_refused(start, train, tiny_model, tokenizer_content, refusal, tmp_path):
    from peaframe.models.load import save_model

    assert not train("run", stop=2)
    with torch.no_grad():
        tiny_model.audio_head.proj.weight[0, 0] += 1
    save_model(tiny_model, start[0], tokenizer_content)
    message = refusal(CheckpointError, train, "run")
    assert f"{tmp_path / 'run'}: holds a run that started from another model of the name" in message


def test_other_data_is_refused(start, train, refusal):
    assert not train("run", stop=2)
    lines = start[1].read_text().splitlines()
    start[1].write_text("\n".join(lines[1:]) + "\n")
    assert "of other items or options" in refusal(OptionError, train, "run")


def rewrite(path, change):
    """Change a state's tensors and facts in place."""
    tensors, facts = runs.state(path.parent)
    change(tensors, facts)
    save_file(tensors, path, {"peaframe": json.dumps(facts)})


@pytest.mark.slow
def test_a_damaged_state_is_refused(train, refusal, tmp_path):
    assert not train("run", stop=2)
    path = tmp_path / "run" / "resume.safetensors"
    good = path.read_bytes()
    for bad in (b"", b"{}", good[:100], good[:-1], bytes(8) + good[8:]):
        path.write_bytes(bad)
        assert refusal(CheckpointError, train, "run").startswith(f"{path}: no state of a run (")
        assert path.read_bytes() == bad
    path.write_bytes(good)
    name = min(n for n in load_file(path) if n.startswith("exp_avg/")).removeprefix("exp_avg/")
    for change, told in (
        (lambda t, f: f.pop("guard"), "no state of a run (KeyError('guard'))"),
        (lambda t, f: t.pop(f"exp_avg/{name}"), f"lacks exp_avg/{name};"),
        (lambda t, f: t.pop(f"average/{name}"), f"lacks average/{name};"),
        (lambda t, f: t.pop(f"raw/{name}"), f"does not fit what learns here, {name} for one"),
        (
            lambda t, f: t.update({f"raw/{name}": torch.zeros(3, 5)}),
            f"{name} has another shape than the model's",
        ),
        (lambda t, f: t.update({"average/no": torch.zeros(3)}), "averages no, which the model does not have"),
    ):
        path.write_bytes(good)
        rewrite(path, change)
        assert told in refusal(CheckpointError, train, "run")
    path.write_bytes(good)
    assert train("run")


def test_a_finished_run_stays_as_it_is(train, tmp_path):
    assert train("run")
    files = [p for p in (tmp_path / "run").rglob("*") if p.is_file() and "tensorboard" not in str(p)]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert train("run")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before


def test_a_log_is_cut_behind_a_step(tmp_path):
    path = tmp_path / "log.jsonl"
    cut_log(path, 3)
    assert not path.exists()
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 3, "valid": {}}\n[1]\n{"step": 1, "lo')
    cut_log(path, 3)
    assert path.read_text() == '{"step": 2}\n{"step": 3, "valid": {}}\n'
    inode = path.stat().st_ino
    cut_log(path, 3)
    assert path.stat().st_ino == inode


def test_a_folder_appears_whole_or_not_at_all(tmp_path, refusal):
    folder = tmp_path / "last"
    for number in (1, 2):
        with whole_folder(folder) as new:
            (new / f"file_{number}").write_text(str(number))
        assert [path.name for path in folder.iterdir()] == [f"file_{number}"]

    def fails():
        with whole_folder(folder) as new:
            (new / "half").write_text("")
            raise OSError(28, "No space left on device")

    assert "last: cannot be written ([Errno 28] No space left" in refusal(FormatError, fails)
    assert [path.name for path in folder.iterdir()] == ["file_2"]
    assert runs.leftovers(tmp_path) == []


def test_what_a_killed_run_left_is_put_back_or_removed(tmp_path):
    for name in (".last.old", ".last.new", ".best.old", "best"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "from").write_text(name)
    for name in (".0123456789ab.safetensors", ".tmpCOSiDt", ".0123456789ab", "log.jsonl", ".mine"):
        (tmp_path / name).write_text("")
    clear_up(tmp_path, ("last", "best"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "best", "last", "log.jsonl"]
    assert (tmp_path / "last" / "from").read_text() == ".last.old"
    assert (tmp_path / "best" / "from").read_text() == "best"
