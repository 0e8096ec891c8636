"""What is Ray's own: its options, where it listens, what it says of who is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowevents import Chunk, RayRunner, Run, RunCancelled
from tests.driving import Driver
from tests.workers.conftest import ROOT
from tests.workers.engines import Engine
from tests.workers.nodes import made, until
from tests.workers.test_durable import is_gone


def run(code: str) -> str:
    """What some code prints in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_an_error_where_the_extra_is_missing() -> None:
    """It names the extra; `import *` and `dir` do without."""
    printed = run(
        "import sys\n"
        "sys.modules['ray'] = None\n"
        "import flowevents\n"
        "from flowevents import *\n"
        "assert 'RayRunner' not in dir(flowevents)\n"
        "try:\n"
        "    flowevents.RayRunner\n"
        "except ImportError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    assert printed.startswith("MissingExtra RayRunner needs the package ray")
    assert "pip install flowevents[ray]" in printed


def test_it_is_an_error_where_ray_is_not_initialised() -> None:
    """It says what to call; a `RayRunner` can be made before that."""
    printed = run(
        "from flowevents import RayRunner\n"
        "from tests.workers.nodes import made\n"
        "node = made('Failing', False, executor=RayRunner(num_cpus=0.5))\n"
        "try:\n"
        "    node.run({'items': ['plain']})\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    assert printed.startswith("FlowEventsError Ray is not initialised in this process: call ray")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"num_cpu": 1}, ValueError, "num_cpu"),
        ({"num_cpus": -1}, ValueError, "num_cpus"),
        ({"max_retries": 3}, TypeError, r"RayRunner sets max_retries= itself.*max_lost="),
        ({"num_returns": 1, "num_cpus": 1}, TypeError, "RayRunner sets num_returns= itself"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_options_are_checked_at_once(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Ray's are Ray's; what flowevents relies on is not to be changed."""
    with pytest.raises(error, match=text):
        RayRunner(**options)


def test_options_are_those_of_its_tasks(engine: Engine, driver: Driver, tmp_path: Path) -> None:
    """With fractions of a CPU as many items run as there is room for, here five at once."""
    names = list("abcde")
    executor = RayRunner(num_cpus=0.4, runtime_env={"env_vars": {"FLOWEVENTS_TRIED": "1"}})
    assert repr(executor).startswith("RayRunner(num_cpus=0.4, runtime_env=")
    node = made("Waiting", driver.loop is not None, tmp_path, executor=executor)
    begun: set[str] = set()

    def let_all_go(event: Any) -> None:
        if isinstance(event, Chunk) and event.data.startswith("begun"):
            begun.add(event.data)
            if len(begun) == len(names):
                for name in names:
                    (tmp_path / f"go {name}").touch()

    shared: dict[str, Any] = {"items": names}
    driver.run(node, shared, observers=[let_all_go])
    assert shared["results"] == names


def test_it_listens_on_loopback_alone(engine: Engine) -> None:
    """The cluster of the tests can be reached by nobody else."""
    addresses = listened(below(os.getpid()))
    assert addresses
    assert {each for each in addresses if not each.endswith("0100007F")} == set()


def below(pid: int) -> list[int]:
    """A process and all that it has begun."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended meanwhile
        return []
    return [pid, *(each for child in children for each in below(int(child)))]


def listened(pids: list[int]) -> list[str]:
    """The addresses on which processes listen, in hexadecimal."""
    sockets: set[str] = set()
    for pid in pids:
        for each in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(each))
            except OSError:
                continue
    lines = [
        *Path("/proc/net/tcp").read_text().splitlines(),
        *Path("/proc/net/tcp6").read_text().splitlines(),
    ]
    fields = [line.split() for line in lines]
    return [
        each[1].partition(":")[0]
        for each in fields
        if each[3] == "0A" and f"socket:[{each[9]}]" in sockets
    ]


def test_who_does_not_stop_is_killed(engine: Engine, driver: Driver, tmp_path: Path) -> None:
    """After `grace` seconds its worker is gone, and with it what it takes of the cluster."""
    node = made("Waiting", driver.loop is not None, tmp_path, executor=engine.executor, grace=0.2)
    pid = tmp_path / "begun a"
    a_run: Run

    def cancel(event: Any) -> None:
        if isinstance(event, Chunk):
            until(lambda: pid.exists() and pid.read_text(), "begun")
            a_run.cancel()

    a_run = Run(node, {"items": ["a"]}, observers=[cancel])
    with pytest.raises(RunCancelled):
        driver.wait(a_run)
    until(lambda: is_gone(int(pid.read_text())), "its worker is gone")


def test_a_worker_that_cannot_import_the_node(engine: Engine, driver: Driver) -> None:
    """The error says what, and that it has to be importable there."""
    from flowevents import FlowEventsError

    node = made("Failing", driver.loop is not None, executor=engine.executor)
    type(node).__module__, before = "tests.workers.nowhere", type(node).__module__
    sys.modules["tests.workers.nowhere"] = sys.modules[before]
    try:
        with pytest.raises(FlowEventsError, match=r"cannot be unpickled .*importable on both"):
            driver.run(node, {"items": ["plain"]})
    finally:
        type(node).__module__ = before
        del sys.modules["tests.workers.nowhere"]
