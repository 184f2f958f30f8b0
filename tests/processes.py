"""Other processes that tests need: what is killed while it works, what is left of it, and a web server of files.

Loaded with runpy by the tests that need it: pytest does not put tests on the path.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path


def killed_while(command, waiting, seconds=60):
    """Begin a command in a group of its own and kill it as soon as it waits no longer; gives its number."""
    process = subprocess.Popen([str(word) for word in command], start_new_session=True)
    deadline = time.monotonic() + seconds
    while waiting():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return process.pid


def kill_writer(command, out, whole, least, total):
    """Kill a writer into `out` that has this many shards there; what is there is as in `whole`. Gives its number."""

    def there():
        return sorted(path.name for path in out.glob("shard-*.tar"))

    number = killed_while(command, lambda: len(there()) < least, 120)
    assert least <= len(there()) < total
    for name in there():
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    return number


def members(group):
    """Processes of a group that live, by their numbers; Linux."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its) == group and state not in "ZX":
            found.append(int(status.parent.name))
    return found


def left_of(group, seconds=10):
    """Which processes of a group still live when they have had the time to end."""
    deadline = time.monotonic() + seconds
    while (left := members(group)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@contextmanager
def served(folder):
    """The address of a folder on Python's own web server, which knows no ranges."""
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        port = server.stdout.readline().split(" port ")[1].split()[0]
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
