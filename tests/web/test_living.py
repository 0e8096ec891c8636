"""Runs live in the server: whoever watches, however it stops, and in which app it is mounted."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from flowevents import Ask, AskNode, Event, Flow, MemoryJournal, Node, Run, SQLiteJournal
from flowevents.testing import check_events
from flowevents.web import RunServer
from tests.driving import PATIENCE
from tests.web.served import FLOWS
from tests.web.servers import http, serving, until
from tests.web.streams import Viewer, problem, started, watching

pytestmark = pytest.mark.usefixtures("threads_end")

BOTH = pytest.mark.parametrize("flow", ["choice", "plain choice"])


def status(url: str, run_id: str) -> str:
    """The run's status."""
    return str(http.get(f"{url}/runs/{run_id}").json()["status"])


def is_(url: str, run_id: str, what: str) -> bool:
    """Whether that is the run's status."""
    return status(url, run_id) == what


def asked(url: str, run_id: str) -> Any:
    """What the run asks."""
    return http.get(f"{url}/runs/{run_id}").json()["interrupts"]


# -- watched or not -----------------------------------------------------------------------------


@BOTH
def test_who_leaves_changes_nothing(url: str, flow: str) -> None:
    """A run goes on that nobody watches any more."""
    run_id = started(url, flow)
    with watching(url, run_id) as stream:
        next(stream)
    http.post(f"{url}/runs/{run_id}/replies", json={"value": "yes"})
    until(lambda: status(url, run_id) == "done", "it goes on")


@BOTH
def test_a_run_that_nobody_ever_watches(apart: str, flow: str) -> None:
    """With `unwatched=` it is cancelled, after so many seconds."""
    run_id = started(f"{apart}/left", flow)
    until(lambda: status(f"{apart}/left", run_id) == "cancelled", "it is cancelled")


@BOTH
def test_a_run_that_is_watched_goes_on(apart: str, flow: str) -> None:
    """As long as one watches, and a while longer; then it is cancelled."""
    url = f"{apart}/left"
    run_id = started(url, flow)
    with watching(url, run_id):
        others = [started(url, flow) for _ in range(2)]
        for other in others:
            until(partial(is_, url, other, "cancelled"), "others are cancelled")
        assert status(url, run_id) == "running"
        left = time.time()
    until(lambda: status(url, run_id) == "cancelled", "it is cancelled")
    assert http.get(f"{url}/runs/{run_id}").json()["updated"] > left + 0.5


def test_a_viewer_in_another_process(tmp_path: Path) -> None:
    """He counts as well, for as long as he is there."""
    database = tmp_path / "runs.db"
    with (
        serving(tmp_path, RUNS_DB=database, UNWATCHED=1.0) as one,
        serving(tmp_path, RUNS_DB=database, UNWATCHED=1.0) as two,
    ):
        watched, other = started(one.url, "choice"), started(one.url, "choice")
        with watching(two.url, watched) as stream:
            next(stream)
            until(lambda: status(two.url, other) == "cancelled", "the other is cancelled")
            third = started(one.url, "choice")
            until(lambda: status(two.url, third) == "cancelled", "and a third")
            assert status(two.url, watched) == "running"
        until(lambda: status(one.url, watched) == "cancelled", "it is cancelled, too")


# -- how the server stops -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_the_streams_and_leaves_the_runs(
    tmp_path: Path, number: signal.Signals
) -> None:
    """At once and cleanly; the next server goes on where they stood, and so do the viewers."""
    database = tmp_path / "runs.db"
    with serving(tmp_path, RUNS_DB=database) as server:
        runs = [started(server.url, flow) for flow in ("choice", "plain choice")]
        runs.append(started(server.url, "words", {"words": 100_000, "pause": 0.01}))
        viewers = [Viewer(run_id) for run_id in runs]
        for run_id in runs[:2]:
            until(partial(asked, server.url, run_id), "it asks")
        threads = [threading.Thread(target=viewer.look, args=(server.url,)) for viewer in viewers]
        for thread in threads:
            thread.start()
        until(lambda: all(viewer.events for viewer in viewers), "they see something")
        assert server.end(number) < 5
        for thread in threads:
            thread.join()
        assert not any(viewer.ended for viewer in viewers)
        assert server.log() == ""
        with SQLiteJournal(database) as journal:
            assert {each.status for each in journal.runs()} <= {"running", "paused"}
        server.start()
        for run_id in runs[:2]:
            until(partial(asked, server.url, run_id), "it asks again")
            answer = http.post(f"{server.url}/runs/{run_id}/replies", json={"value": "yes"})
            assert answer.status_code == 202
        until(lambda: http.post(f"{server.url}/runs/{runs[2]}/cancel").is_success, "cancelled")
        for viewer in viewers:
            viewer.look(server.url)
            check_events(viewer.events)
        ends = [viewer.events[-1].status for viewer in viewers]  # type: ignore[attr-defined]
        assert ends == ["ok", "ok", "cancelled"]


def test_what_was_cancelled_or_answered_meanwhile(tmp_path: Path) -> None:
    """While no server is there, the journal takes it, and the next server goes on with it."""
    database = tmp_path / "runs.db"
    with serving(tmp_path, RUNS_DB=database) as server:
        answered, cancelled = started(server.url, "choice"), started(server.url, "choice")
        for run_id in (answered, cancelled):
            until(partial(asked, server.url, run_id), "it asks")
        server.end(signal.SIGTERM)
        with SQLiteJournal(database) as journal:
            journal.reply(answered, "no")
            journal.cancel(cancelled)
        server.start()
        until(lambda: status(server.url, answered) == "done", "it goes on")
        assert status(server.url, cancelled) == "cancelled"


def test_runs_of_others_are_left_alone(tmp_path: Path) -> None:
    """What is due of a flow that is not here is for somebody else."""
    database = tmp_path / "runs.db"
    with SQLiteJournal(database) as journal:
        run = Run(Flow(FLOWS["plain choice"]), {}, journal=journal, id="theirs")
        for _ in run:
            pass
        run.close()
        journal.reply("theirs", "yes")
        with serving(tmp_path, RUNS_DB=database) as server:
            mine = started(server.url, "choice")
            server.end(signal.SIGTERM)
            server.start()
            until(lambda: asked(server.url, mine), "mine goes on")
            http.post(f"{server.url}/runs/{mine}/cancel")
            until(lambda: status(server.url, mine) == "cancelled", "it is cancelled")
            assert journal.due() == ["theirs"]


def test_a_run_that_cannot_go_on_is_not_tried_all_the_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is gone from the flow, for one: it is said once, and the others go on."""
    monkeypatch.setattr("flowevents.web.rounds._EVERY", 0.01)

    class Gone(AskNode):
        """Is in no flow of the server."""

        def question(self, prep_res: Any) -> Any:
            return Ask("?")

    async def main() -> None:
        server = RunServer({"a": FLOWS["choice"], **FLOWS}, journal=journal)
        async with server.lifespan():
            while not caplog.records:  # noqa: ASYNC110 (the log has no event)
                await asyncio.sleep(0.01)
            due(journal)
            while journal.summary("r1").status != "done":  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    with SQLiteJournal(tmp_path / "runs.db") as journal:
        run = Run(Flow(Gone()), {}, journal=journal, name="a")
        run.start()
        until(lambda: journal.summary(run.id).interrupts, "it asks")
        run.close()
        asyncio.run(asyncio.wait_for(main(), PATIENCE))
        assert "Gone" in caplog.records[0].message
        assert len(caplog.records) == 1


# -- in memory ----------------------------------------------------------------------------------


def test_memory_keeps_the_last_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a journal those are forgotten that ended before, and no others."""
    server = RunServer({"words": FLOWS["words"], "choice": FLOWS["choice"]}, max_runs=2_000)

    async def main() -> None:
        transport = httpx.ASGITransport(server)
        async with (
            server.lifespan(),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            body = {"flow": "choice", "id": "open"}
            await client.post("/runs", json=body)
            for number in range(1_050):
                given = {"flow": "words", "id": f"r{number}", "shared": {"words": 0}}
                assert (await client.post("/runs", json=given)).status_code == 201
            while len(server.journal.runs(limit=9_999)) > 1_001:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            ids = [each.id for each in server.journal.runs(limit=9_999)]
            assert ids == [*(f"r{number}" for number in reversed(range(50, 1_050))), "open"]

    asyncio.run(asyncio.wait_for(main(), 2 * PATIENCE))
    server.journal.close()


# -- mounted ------------------------------------------------------------------------------------


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app, without its lifespan."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def fastapi(server: RunServer, path: str) -> Any:
    """Mounted in FastAPI."""
    app = FastAPI(lifespan=server.lifespan)
    app.mount(path, server)
    return app


def starlette(server: RunServer, path: str) -> Any:
    """Mounted in Starlette."""
    return Starlette(routes=[Mount(path, server)], lifespan=server.lifespan)


def alone(server: RunServer, path: str) -> Any:
    """Mounted where nobody tells it of the lifespan."""
    return Starlette(routes=[Mount(path, server)])


@pytest.mark.parametrize("mount", [fastapi, starlette, alone])
@pytest.mark.parametrize("path", ["/agents", "/a/b", "/runs"])
def test_mounted(mount: Callable[[RunServer, str], Any], path: str) -> None:
    """All is below the prefix, the `Location` of a run, too; refusals are as ever."""

    async def main(journal: MemoryJournal) -> None:
        async with served(mount(RunServer(FLOWS, journal=journal), path)) as client:
            answer = await client.post(f"{path}/runs", json={"flow": "words", "id": "r1"})
            assert answer.headers["location"] == f"{path}/runs/r1"
            summary = (await client.get(answer.headers["location"])).json()
            assert summary["id"] == "r1"
            events = await client.get(f"{path}/runs/r1/events")
            assert "event: end\n" in events.text
            problem(await client.get(f"{path}/nope"), 404, f"{path}/nope")
            problem(await client.get(f"{path}/runs/r2"), 404)
            answer = await client.post(f"{path}/runs", headers={"origin": "http://evil"})
            problem(answer, 403)
            assert (await client.get(f"{path}/")).status_code == 200

    with MemoryJournal() as journal:
        asyncio.run(main(journal))


@pytest.mark.parametrize("mount", [fastapi, starlette])
def test_a_mounted_server_begins_with_its_app(tmp_path: Path, mount: Any) -> None:
    """By its lifespan: what is due goes on before there is a request."""
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        due(journal)

        async def main() -> None:
            app = mount(RunServer(FLOWS, journal=journal), "/agents")
            async with app.router.lifespan_context(app):
                while journal.summary("r1").status != "done":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_without_its_lifespan_it_begins_with_the_first_request(tmp_path: Path) -> None:
    """Whatever that is."""
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        due(journal)

        async def main() -> None:
            async with served(alone(RunServer(FLOWS, journal=journal), "/agents")) as client:
                assert journal.summary("r1").status != "done"
                await client.get("/agents/nope")
                while journal.summary("r1").status != "done":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("resume", [True, False])
def test_resume(tmp_path: Path, resume: bool) -> None:
    """`resume=False` goes on with nothing."""
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        due(journal)

        async def main() -> bool:
            server = RunServer(FLOWS, journal=journal, resume=resume)
            async with server.lifespan(), served(server) as client:
                await client.post("/runs", json={"flow": "words", "id": "r2"})
                while journal.summary("r2").status != "done":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                if resume:
                    while journal.summary("r1").status != "done":  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                return journal.due() == ["r1"]

        assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) is not resume


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_node_does_not_end_the_server(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a sync one raises; the log says it."""

    class Ends(Node):
        """Would end the process."""

        def exec(self, prep_res: Any) -> None:
            raise error

    async def main(journal: MemoryJournal) -> None:
        server = RunServer({**FLOWS, "ends": Flow(Ends())}, journal=journal)
        async with server.lifespan(), served(server) as client:
            await client.post("/runs", json={"flow": "ends", "id": "r1"})
            while not caplog.records:  # noqa: ASYNC110 (the log has no event)
                await asyncio.sleep(0.01)
            assert (await client.post("/runs", json={"flow": "words"})).status_code == 201

    with MemoryJournal() as journal:
        asyncio.run(asyncio.wait_for(main(journal), PATIENCE))
    assert "Run r1 failed" in caplog.text


def test_options_of_every_run() -> None:
    """`offload` is for async flows, and sync ones go on without; observers hear all."""
    heard: list[Event] = []

    async def main(journal: MemoryJournal) -> None:
        server = RunServer(FLOWS, journal=journal, offload=True, observers=[heard.append])
        async with server.lifespan(), served(server) as client:
            for flow in ("words", "plain words"):
                answer = await client.post("/runs", json={"flow": flow})
                run_id = answer.json()["id"]
                while journal.summary(run_id).status == "running":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                assert journal.summary(run_id).status == "done"

    with MemoryJournal() as journal:
        asyncio.run(asyncio.wait_for(main(journal), PATIENCE))
        logs = [event for each in reversed(journal.runs()) for event in journal.read(each.id)]
    assert [each.seq for each in heard] == [each.seq for each in logs]


def due(journal: SQLiteJournal) -> None:
    """A run that is answered, and that nobody drives."""
    run = Run(FLOWS["plain choice"], {}, journal=journal, id="r1", name="plain choice")
    for _ in run:
        pass
    run.close()
    journal.reply("r1", "yes")
