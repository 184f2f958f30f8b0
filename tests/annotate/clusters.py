"""A Ray cluster of several nodes on this machine, and how to break it."""

import contextlib
import os
import signal
import threading
from pathlib import Path


@contextlib.contextmanager
def cluster(nodes):
    """A real cluster: a head without processors, and so many nodes of one processor; it goes whatever happens."""
    import ray
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 << 20, "include_dashboard": False}
    with _environment(RAY_USAGE_STATS_ENABLED="0"):
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
        try:
            for _ in range(nodes):
                made.add_node(num_cpus=1, object_store_memory=80 << 20)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def actors(name="Actor"):
    """Ids of the processes of workers that this process has started, by way of Ray, and that are at something."""
    parents = _parents()

    def ours(pid):
        while pid > 1:
            pid = parents.get(pid, 0)
            if pid == os.getpid():
                return True
        return False

    return sorted(pid for pid in parents if _title(pid).startswith(f"ray::{name}") and ours(pid))


def node_of(made, pid):
    """The node of a cluster that a worker is on: its raylet is the worker's parent."""
    parent = _parents()[pid]
    (node,) = (
        node
        for node in made.list_all_nodes()
        for raylet in node.all_processes["raylet"]
        if raylet.process.pid == parent
    )
    return node


def kill(pid):
    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def killing(name, count):
    """Kill the first so many workers of ours that are seen at something."""
    done = threading.Event()

    def watch():
        killed = set()
        while len(killed) < count and not done.wait(0.01):
            for pid in set(actors(name)) - killed:
                kill(pid)
                killed.add(pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _parents():
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def _title(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


class Breaking:
    """An engine during whose work something breaks: `act` runs once, behind so many results."""

    def __init__(self, engine, after, act):
        self._engine, self._after, self._act = engine, after, act

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def do(self, units):
        for count, result in enumerate(self._engine.do(units), start=1):
            yield result
            if count == self._after:
                self._act()


@contextlib.contextmanager
def _environment(**values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
