"""Nothing lost, nothing twice: viewers that are cut, servers that are killed, and many of them."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowevents import Event, Interrupt, NodeEnd, NodeStart, RedisJournal, Retry, SQLiteJournal
from flowevents.testing import check_events
from tests.driving import PATIENCE
from tests.journals.server import redis_server
from tests.web.proxy import proxied
from tests.web.servers import Server, http, serving, until
from tests.web.streams import Viewer, started

CUTS = 50
KILLS = 5


def watch(viewer: Viewer, url: str) -> None:
    """Watch to the end, coming back as often as it needs."""
    deadline = time.monotonic() + 4 * PATIENCE
    while not viewer.ended:
        assert time.monotonic() < deadline, "The run does not come to its end."
        try:
            viewer.look(url)
        except httpx.TransportError:  # cut, or nobody there
            time.sleep(0.01)


class Watching(threading.Thread):
    """Somebody who watches to the end, in a thread."""

    def __init__(self, url: str, run_id: str) -> None:
        super().__init__(daemon=True)
        self.viewer = Viewer(run_id)
        self._url = url
        self.start()

    def run(self) -> None:
        watch(self.viewer, self._url)

    def has_seen(self, kind: type[Any], times: int) -> bool:
        """Whether events of this type came so often, or it has stopped."""
        return not self.is_alive() or sum(isinstance(e, kind) for e in self.viewer.events) >= times

    def whole(self) -> list[Any]:
        """All that there was."""
        self.join(4 * PATIENCE)
        assert self.viewer.ended
        check_events(self.viewer.events)
        return self.viewer.events


@pytest.mark.parametrize("flow", ["words", "plain words"])
def test_a_viewer_that_is_cut_at_random(url: str, flow: str) -> None:
    """In the middle of a frame, or of the headers: he comes back, and sees each event once."""
    dice = random.Random(flow)
    run_id = started(url, flow, {"words": 1_500, "pause": 0.001})
    viewer = Viewer(run_id)
    with proxied([url], lambda: dice.randint(1, 9_000) if proxy.cuts < CUTS else None) as proxy:
        watch(viewer, proxy.url)
        assert proxy.cuts == CUTS
    check_events(viewer.events)
    other = Viewer(run_id)
    other.look(url)
    assert viewer.events == other.events


def answer(url: str, run_id: str, value: str) -> None:
    """Answer what the run asks, once there is a server that takes it."""

    def answers() -> bool:
        try:
            reply = http.post(f"{url}/runs/{run_id}/replies", json={"value": value})
        except httpx.TransportError:
            return False
        assert reply.status_code in (202, 409), reply.text
        return reply.status_code == 202

    until(answers, "it takes an answer")


def counted(counts: Path) -> Counter[int]:
    """How often each step was done."""
    return Counter(map(int, counts.read_text(encoding="utf-8").split()))


def check_steps(events: list[Any], counts: Path, steps: int) -> None:
    """Each step was done, and none again that had ended: only one that was lost in the middle."""
    done = counted(counts)
    assert sorted(done) == list(range(1, steps + 1))
    ended = [each for each in events if isinstance(each, NodeEnd) and each.node == "Step"]
    assert len(ended) == steps
    lost = Counter(each.step for each in events if isinstance(each, Retry) and each.node == "Step")
    assert all(times <= 1 + lost[step] for step, times in done.items()), (done, lost)


def test_a_server_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """While an agent works, and while its question is open; in the end there is one whole log."""
    counts, database = tmp_path / "counts", tmp_path / "runs.db"
    with serving(tmp_path, RUNS_DB=database) as server:
        run_id = started(server.url, "steps", {"counts": str(counts)})
        viewers = [Watching(server.url, run_id) for _ in range(3)]
        for kill in range(1, KILLS + 1):
            asked: type[Event] = Interrupt if kill > 3 else NodeStart
            until(partial(viewers[0].has_seen, asked, kill if kill < 4 else 1), "it runs")
            server.end(signal.SIGKILL)
            server.start()
        answer(server.url, run_id, "no")
        until(partial(_have, [counts], 10), "it does five more steps")
        server.end(signal.SIGKILL)
        server.start()
        until(lambda: _asks(server.url, run_id), "it asks again")
        answer(server.url, run_id, "yes")
        logs = [each.whole() for each in viewers]
        assert logs[0] == logs[1] == logs[2]
        check_steps(logs[0], counts, 10)
    with SQLiteJournal(database) as journal:
        assert list(journal.read(run_id)) == logs[0]
        assert (journal.summary(run_id).status, journal.due()) == ("done", [])


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_four_servers_of_one_journal(tmp_path: Path, kind: str) -> None:
    """A proxy sends each request to another one, and each of them is killed once."""
    database, dice = str(tmp_path / "runs.db"), random.Random(4)
    with ExitStack() as stack:
        if kind == "redis":
            database = stack.enter_context(redis_server(tmp_path)).url
        servers = [Server("tests.web.served:app", tmp_path, RUNS_DB=database) for _ in range(4)]
        for server in servers:
            server.start()
            stack.callback(server.end)
        urls = [each.url for each in servers]
        proxy = stack.enter_context(
            proxied(urls, lambda: dice.randint(1_000, 20_000) if proxy.cuts < CUTS else None)
        )
        counts = [tmp_path / f"counts {n}" for n in range(3)]
        runs = [_started(proxy.url, "steps", {"counts": str(each)}) for each in counts]
        asks = _started(proxy.url, "plain choice", {})
        gone = _started(proxy.url, "words", {"words": 10**6, "pause": 0.01})
        viewers = [Watching(proxy.url, run_id) for run_id in [*runs, *runs, asks, gone]]
        for n, server in enumerate(servers):
            until(partial(_have, counts[:1], n + 1), "it runs")
            server.end(signal.SIGKILL)
            server.start()
        until(lambda: all(_asks(urls[0], run_id) for run_id in runs), "they ask")
        for value, steps in (("no", 10), ("yes", 10)):
            for run_id in runs:
                answer(proxy.url, run_id, value)
            until(partial(_have, counts, steps), "they go on")
            if value == "no":
                until(lambda: all(_asks(urls[1], run_id) for run_id in runs), "they ask again")
        answer(proxy.url, asks, "yes")
        until(lambda: _cancelled(proxy.url, gone), "it is cancelled")
        logs = [each.whole() for each in viewers]
        for n, counts_of in enumerate(counts):
            assert logs[n] == logs[n + 3]
            check_steps(logs[n], counts_of, 10)
        assert logs[-1][-1].status == "cancelled"
        listed = {each["id"]: each["status"] for each in http.get(f"{urls[3]}/runs").json()}
        assert listed == {**dict.fromkeys([*runs, asks], "done"), gone: "cancelled"}
        with RedisJournal(database) if kind == "redis" else SQLiteJournal(database) as journal:
            for run_id, log in zip(runs, logs, strict=False):
                assert list(journal.read(run_id)) == log


def _have(counts: list[Path], steps: int) -> bool:
    """Whether so many steps were done, in each run."""
    return all(each.exists() and len(counted(each)) >= steps for each in counts)


def _started(url: str, flow: str, shared: dict[str, Any]) -> str:
    """The id of a run that is started, though the answer may be cut."""
    run_id = f"{flow}-{random.getrandbits(32)}".replace(" ", "-")

    def starts() -> bool:
        body = {"flow": flow, "shared": shared, "id": run_id}
        try:
            return http.post(f"{url}/runs", json=body).status_code in (201, 409)
        except httpx.TransportError:
            return False

    until(starts, "it is started")
    return run_id


def _asks(url: str, run_id: str) -> bool:
    return bool(http.get(f"{url}/runs/{run_id}").json()["interrupts"])


def _cancelled(url: str, run_id: str) -> bool:
    try:
        return http.post(f"{url}/runs/{run_id}/cancel").status_code in (202, 409)
    except httpx.TransportError:
        return False
