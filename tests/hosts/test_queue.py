"""The recipes of docs/many-machines.md: runs on RQ, begun, lost, answered, and gone on with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowevents import RedisJournal
from flowevents.testing import check_events
from tests.driving import PATIENCE
from tests.journals.server import Server, redis_server

pytest.importorskip("rq")

ROOT = Path(__file__).parents[2]
FLOWS = """
import os

from flowevents import Ask, AskNode, Flow, Node


class Work(Node):
    def exec(self, prep_res):
        with open("ran", "a") as file:
            file.write(type(self).__name__ + chr(10))


class Dies(Work):
    def exec(self, prep_res):
        super().exec(prep_res)
        if not os.path.exists("died"):
            open("died", "w").close()
            os._exit(1)


class Approve(AskNode):
    def question(self, prep_res):
        return Ask("Go on?", choices=["yes", "no"])

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = exec_res


first = Work()
first >> Dies() >> Approve()
flow = Flow(first)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own."""
    with redis_server(tmp_path) as server:
        yield server


def recipes(folder: Path, url: str) -> None:
    """Write the programs of the page, for this server, whose leases are short."""
    page = (ROOT / "docs" / "many-machines.md").read_text(encoding="utf-8")
    found = re.findall(r"```py\n# (\w+\.py): [^\n]*\n(.*?)```", page, re.DOTALL)
    assert [name for name, _ in found] == ["jobs.py", "due.py"]
    for name, code in found:
        code = code.replace("redis://localhost:6379/0", url)
        code = code.replace(f'RedisJournal("{url}")', f'RedisJournal("{url}", lease=1)')
        (folder / name).write_text(code, encoding="utf-8")
    (folder / "flows.py").write_text(FLOWS, encoding="utf-8")


def test_on_rq(tmp_path: Path, server: Server) -> None:
    """A worker dies in a step; what is due goes on, asks, is answered, and ends."""
    recipes(tmp_path, server.url)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}

    def python(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def work() -> None:
        python("-m", "rq.cli", "worker", "--burst", "--url", server.url)

    enqueue = "import jobs, redis, rq; queue = rq.Queue(connection=redis.Redis.from_url(%r)); "
    enqueue %= server.url
    with RedisJournal(server.url) as journal:
        python("-c", enqueue + "queue.enqueue(jobs.begin, 'order-17', {})")
        work()
        events = journal.follow("order-17", timeout=PATIENCE)
        while "order-17" not in journal.due():
            pass  # its lease is still running
        python("due.py")
        work()
        (run,) = journal.runs()
        assert run.status == "paused"
        journal.reply("order-17", "yes")
        python("due.py")
        work()
        assert journal.summary("order-17").status == "done"
        assert journal.state("order-17") == {"answer": "yes"}
        check_events(journal.read("order-17"))
        assert [each.seq for each in events] == list(range(1, journal.summary(run.id).seq + 1))
    ran = Counter((tmp_path / "ran").read_text().split())
    assert ran == {"Work": 1, "Dies": 2}
