import subprocess
import sys

HEAVY = ("torch", "pandas", "scipy", "sed_eval", "dcase_util", "librosa")


def test_importing_is_light_and_psds_stays_a_function() -> None:
    code = (
        "import sys; from peaframe.eval.psds import PSDSResult; import peaframe.eval as e; "
        f"print(callable(e.psds), [m for m in {HEAVY} if m in sys.modules], "
        "[n for n in e.__all__ if not hasattr(e, n)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "True [] []"
