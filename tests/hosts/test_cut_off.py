"""A host that is cut off in the middle of a run, which another one goes on with."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.driving import PATIENCE
from tests.hosts.network import Host, network
from tests.programs import program

ROUNDS = 10


def asker(process: subprocess.Popen[str]) -> Callable[[str], object]:
    """What has a program do a command, and gives its answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    write, lines = process.stdin, process.stdout

    def ask(command: str) -> object:
        print(command, file=write, flush=True)
        return json.loads(lines.readline())

    return ask


def redis_on(host: Host, folder: Path) -> subprocess.Popen[str]:
    """A Redis server of a host, once it listens."""
    command = host.words(
        program("redis-server"), "--bind", host.address, "--protected-mode", "no",
        "--save", "", "--dir", str(folder), "--appendonly", "yes",
    )  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if "Ready to accept connections" in line:
            return server
    raise AssertionError("The server has not come up.")


def test_ten_times(tmp_path: Path) -> None:
    """The other host sees every event once and goes on after the last finished step; the first one
    is refused when it comes back."""
    file = tmp_path / "ran"
    with network("store", "one", "two") as hosts:
        store, one, two = hosts.values()
        url = f"redis://{store.address}:6379/0"
        server = redis_on(store, tmp_path)
        try:
            words = "tests.hosts.program", url, str(file)
            with one.python(*words, "one") as first, two.python(*words, "two") as second:
                here, there = asker(first), asker(second)
                for at in range(ROUNDS):
                    run = f"run-{at}"
                    assert here(f"begin {run}") == "interrupt"
                    there(f"watch {run}")
                    there(f"answer {run}")
                    here("stand")
                    one.cut_off()
                    shared = there(f"resume {run}")
                    assert shared == {"First": "one", "answer": "yes", "Second": "two"}
                    seen = there("watched")
                    assert isinstance(seen, list)
                    assert seen == list(range(1, len(seen) + 1))
                    one.come_back()
                    assert here("go_on") == "Conflict"
                    assert there(f"check {run}") == "done"
        finally:
            server.kill()
            server.communicate(timeout=PATIENCE)
    ran = Counter(file.read_text().split("\n"))
    del ran[""]
    assert ran == {"First one": ROUNDS, "Second one": ROUNDS, "Second two": ROUNDS}
