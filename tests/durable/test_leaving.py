"""Who leaves a run with a journal lets it go: only `cancel` cancels it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncStreamNode,
    Chunk,
    Conflict,
    Event,
    Flow,
    FlowEnd,
    Interrupt,
    JournalError,
    MemoryJournal,
    Node,
    NodeEnd,
    NodeStart,
    Paused,
    Run,
    RunCancelled,
    RunStateError,
    SQLiteJournal,
    StreamNode,
)
from flowevents.journal.journal import Journal
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, Seen, driving, in_thread, status_of
from tests.journals.processes import begun

Do = Callable[[], object]


def _nothing() -> None:
    pass


class First(Node):
    """A step that is finished before."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["first"] = shared.get("first", 0) + 1


class Streams(StreamNode):
    """Streams, and does something in the middle."""

    def __init__(self, do: Do = _nothing) -> None:
        super().__init__()
        self.do = do

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield "a"
        self.do()
        yield "b"
        yield "c"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["streamed"] = exec_res


class StreamsAsync(AsyncStreamNode):
    """The same, async."""

    def __init__(self, do: Do = _nothing) -> None:
        super().__init__()
        self.node_name, self.do = "Streams", do

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        yield "a"
        self.do()
        await asyncio.sleep(0)
        yield "b"
        yield "c"

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["streamed"] = exec_res


def _flow(driver: Driver, do: Do = _nothing) -> Flow:
    first = First()
    if driver.loop is None:
        first >> Streams(do)
        return Flow(first)
    first >> StreamsAsync(do)
    return AsyncFlow(first)


def _begun(driver: Driver, journal: Journal, seen: Seen, do: Do = _nothing, **options: Any) -> Run:
    options = {"observers": [seen], **options}
    return Run(_flow(driver, do), {}, journal=journal, id="run", **options)


def _is_chunk(event: Event) -> bool:
    return isinstance(event, Chunk)


def _check_let_go(driver: Driver, journal: Journal, seen: Seen) -> None:
    """Its ends were heard here and are in no log; and it goes on at once."""
    assert seen.ends() == ["ok", "cancelled", "cancelled"]
    assert [each.status for each in journal.runs()] == ["running"]
    assert journal.due() == ["run"]
    ends = [each for each in journal.read("run") if isinstance(each, NodeEnd | FlowEnd)]
    assert [each.node for each in ends] == ["First"]
    _check_goes_on(driver, journal)


def _check_goes_on(driver: Driver, journal: Journal) -> None:
    run = Run.resume(_flow(driver), journal, "run")
    assert run.status == "ready"
    driver.wait(run)
    assert run.shared == {"first": 1, "streamed": ["a", "b", "c"]}
    check_events(journal.read("run"))
    assert [each.status for each in journal.runs()] == ["done"]


def _in_block(driver: Driver, run: Run) -> None:
    """Leave `with` or `async with`, after a `break`."""
    if driver.loop is None:
        with run:
            driver.each(run, _is_chunk)
        return

    async def block() -> None:
        async with run:
            async for event in run:
                if _is_chunk(event):
                    break

    driver.in_loop(block())


def _raising(driver: Driver, run: Run) -> None:
    """Leave the block by an error of one's own."""

    async def block() -> None:
        async with run:
            async for event in run:
                if _is_chunk(event):
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        if driver.loop is not None:
            driver.in_loop(block())
        else:
            with run:
                for event in run:
                    if _is_chunk(event):
                        raise ZeroDivisionError


def _closed(driver: Driver, run: Run) -> None:
    """Close it."""
    driver.each(run, _is_chunk)
    driver.close(run)


@pytest.mark.parametrize("leave", [_in_block, _raising, _closed])
def test_a_block_or_close(
    handle: Callable[[], Journal], driver: Driver, leave: Callable[[Driver, Run], None]
) -> None:
    """Its code is closed, and the lease given up."""
    seen, journal = Seen(), handle()
    run = _begun(driver, journal, seen)
    leave(driver, run)
    assert run.status == "cancelled"
    _check_let_go(driver, journal, seen)


def test_the_last_reference(handle: Callable[[], Journal], driver: Driver) -> None:
    """Is dropped in the middle of a node."""
    seen, journal = Seen(), handle()
    run = _begun(driver, journal, seen)
    driver.each(run, _is_chunk)
    del run
    gc.collect()
    driver.settle()
    _check_let_go(driver, journal, seen)


@pytest.mark.parametrize("how", ["dropped", "closed"])
def test_a_stream(handle: Callable[[], Journal], driver: Driver, how: str) -> None:
    """Dropped, or closed."""
    seen, journal = Seen(), handle()
    stream = driver.stream(_flow(driver), {}, journal=journal, id="run", observers=[seen])
    assert driver.next(stream) == "a"
    if how == "closed":
        driver.close_stream(stream)
    del stream
    gc.collect()
    driver.settle()
    _check_let_go(driver, journal, seen)


def test_break_leaves_it_where_it_is(handle: Callable[[], Journal], driver: Driver) -> None:
    """Another loop goes on, in the same attempt, and nobody else may."""
    seen, journal = Seen(), handle()
    run = _begun(driver, journal, seen)
    driver.each(run, _is_chunk)
    assert status_of(run) == "running"
    assert (journal.due(), journal.runs()[0].status) == ([], "running")
    with pytest.raises(RunStateError, match="drives it"):
        Run.resume(_flow(driver), journal, "run")
    driver.each(run, lambda event: False)
    assert run.status == "done"
    seen.check()
    assert [each.seq for each in journal.read("run")] == [each.seq for each in seen.events]


def test_a_callbacks_error(handle: Callable[[], Journal], driver: Driver) -> None:
    """Is raised, and the run let go."""
    seen, journal = Seen(), handle()

    def callback(data: Any, node: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        driver.call_back(_flow(driver), {}, callback, journal=journal, id="run", observers=[seen])
    _check_let_go(driver, journal, seen)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["node", "handler"])
def test_an_interrupt(handle: Callable[[], Journal], kind: type[BaseException], where: str) -> None:
    """Ctrl-C, in a node or in a handler."""
    seen, journal = Seen(), handle()

    def do() -> None:
        raise kind

    class Interrupts:
        def on_chunk(self, event: Chunk) -> None:
            raise kind

    first = First()
    first >> Streams(do if where == "node" else _nothing)
    observers = [seen, Interrupts()] if where == "handler" else [seen]
    run = Run(Flow(first), {}, journal=journal, id="run", observers=observers)
    with pytest.raises(kind):
        run.wait()
    assert run.status == "cancelled"
    _check_let_go(Driver(None), journal, seen)


def test_an_interrupt_while_it_is_stored(journal: MemoryJournal) -> None:
    """Of a handler that hears an end which is stored already: that counts."""

    class Interrupts:
        def on_node_end(self, event: NodeEnd) -> None:
            if event.node == "First" and event.status == "ok":
                raise KeyboardInterrupt

    first = First()
    first >> Streams()
    run = Run(Flow(first), {}, journal=journal, id="run", observers=[Interrupts()])
    with pytest.raises(KeyboardInterrupt):
        run.wait()
    assert journal.due() == ["run"]
    _check_goes_on(Driver(None), journal)


def test_a_cancelled_task(handle: Callable[[], Journal], loop: Driver) -> None:
    """In the middle of a node's code."""
    seen, journal = Seen(), handle()

    class Waits(AsyncNode):
        node_name = "Streams"

        async def exec_async(self, prep_res: Any) -> None:
            task.cancel()
            await asyncio.sleep(PATIENCE)

    first = First()
    first >> Waits()
    run = Run(AsyncFlow(first), {}, journal=journal, id="run", observers=[seen])
    assert loop.loop is not None
    task = loop.loop.create_task(run.wait_async())
    with pytest.raises(asyncio.CancelledError):
        loop.loop.run_until_complete(task)
    assert run.status == "cancelled"
    _check_let_go(loop, journal, seen)


def test_a_loop_that_is_closed(journal: MemoryJournal, caplog: pytest.LogCaptureFixture) -> None:
    """The run of which is lost with it."""
    loop = asyncio.new_event_loop()
    driver = Driver(loop)
    run = _begun(driver, journal, Seen())
    driver.each(run, _is_chunk)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    del run
    gc.collect()
    assert journal.due() == ["run"]
    with driving("async") as again:
        _check_goes_on(again, journal)


def test_it_is_left_before_it_begins(handle: Callable[[], Journal], driver: Driver) -> None:
    """Then there is no log; of a run that was resumed there is."""
    journal = handle()
    driver.close(_begun(driver, journal, Seen()))
    assert journal.runs() == []
    run = _begun(driver, journal, Seen())
    _closed(driver, run)
    for leave in ("close", "drop", "block"):
        run = Run.resume(_flow(driver), journal, "run")
        if leave == "close":
            driver.close(run)
        elif leave == "block":
            driver.inside(run)
        del run
        gc.collect()
        assert journal.due() == ["run"]
    _check_goes_on(driver, journal)


def test_a_paused_run_is_left(handle: Callable[[], Journal], driver: Driver) -> None:
    """It stays paused in the journal, without a warning."""

    class Asks(AsyncNode if driver.loop else StreamNode):  # type: ignore[misc]
        async def exec_async(self, prep_res: Any) -> Any:
            return await self.ask("Go?")

        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            from flowevents import Ask

            yield (yield Ask("Go?"))

    for how in ("drop", "close"):
        journal = handle()
        run = Run(driver.flow(Asks()), {}, journal=journal, id=how)
        with pytest.raises(Paused):
            driver.wait(run)
        if how == "close":
            driver.close(run)
            assert run.status == "cancelled"
        del run
        gc.collect()
        driver.settle()
        (summary,) = journal.runs("paused", 1)
        assert [each.prompt for each in summary.interrupts] == ["Go?"]
        journal.reply(how, "yes")
        driver.wait(Run.resume(driver.flow(Asks()), journal, how))
        check_events(journal.read(how))


def test_in_a_thread(handle: Callable[[], Journal], driver: Driver) -> None:
    """Who leaves its events lets it go as well."""
    journal = handle()
    run = _begun(driver, journal, Seen())
    with run.in_thread(maxsize=1) as events:
        for event in events:
            if _is_chunk(event):
                break
    assert run.status == "cancelled"
    assert journal.due() == ["run"]
    del run
    _check_goes_on(driver, journal)


# -- cancel ---------------------------------------------------------------------------------------


def _check_cancelled(driver: Driver, journal: Journal) -> None:
    events = list(journal.read("run"))
    check_events(events)
    last = events[-1]
    assert isinstance(last, FlowEnd)
    assert (last.status, journal.runs()[0].status, journal.due()) == ("cancelled", "cancelled", [])
    with pytest.raises(RunStateError, match="cancelled"):
        Run.resume(_flow(driver), journal, "run")


@pytest.mark.parametrize("where", ["node", "handler", "loop", "thread"])
def test_a_cancel_is_stored(handle: Callable[[], Journal], driver: Driver, where: str) -> None:
    """With its ends, wherever it comes from."""
    journal, seen = handle(), Seen()

    def do() -> None:
        if where == "node":
            run.cancel()
        elif where == "thread":
            in_thread(run.cancel)

    def handler(event: Event) -> None:
        if where == "handler" and _is_chunk(event):
            run.cancel()

    run = _begun(driver, journal, seen, do, observers=[seen, handler])
    with pytest.raises(RunCancelled):
        if where == "loop":
            driver.each(run, _is_chunk)
            run.cancel()
            driver.settle()
        driver.wait(run)
    assert seen.ends()[-2:] == ["cancelled", "cancelled"]
    seen.check()
    _check_cancelled(driver, journal)


class Forever(StreamNode):
    """Streams until it is stopped."""

    node_name = "Streams"

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        while True:
            yield "x"


def test_a_cancel_from_elsewhere_is_stored(handle: Callable[[], Journal], driver: Driver) -> None:
    """It is taken while a node runs."""
    seen, other = Seen(), handle()

    def handler(event: Event) -> None:
        if isinstance(event, NodeStart) and event.node == "Streams":
            other.cancel("run")

    first = First()
    first >> Forever()
    run = Run(driver.flow(first), {}, journal=handle(), id="run", observers=[seen, handler])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert seen.ends()[-2:] == ["cancelled", "cancelled"]
    seen.check()
    _check_cancelled(driver, other)


@pytest.mark.parametrize("by", ["run", "journal"])
def test_a_resumed_run_is_cancelled(handle: Callable[[], Journal], driver: Driver, by: str) -> None:
    """Before it is driven: its ends are written."""
    journal = handle()
    _closed(driver, _begun(driver, journal, Seen()))
    if by == "journal":
        handle().cancel("run")
    else:
        run = Run.resume(_flow(driver), journal, "run")
        run.cancel()
        assert run.status == "cancelled"
    _check_cancelled(driver, journal)


# -- somebody else has it -------------------------------------------------------------------------


def test_a_run_that_was_taken_over(handle: Callable[[], Journal], driver: Driver) -> None:
    """Is stopped like a cancel at its next stored event, and writes nothing more."""
    seen, journal, other = Seen(), handle(), handle()

    def take_over() -> None:
        with pytest.raises(RunStateError, match="drives it"):
            Run.resume(_flow(driver), other, "run")
        later.append(Run.resume(_flow(driver), other, "run", take_over=True))

    later: list[Run] = []
    run = _begun(driver, journal, seen, take_over)
    with pytest.raises(Conflict):
        driver.wait(run)
    assert run.status == "cancelled"
    assert seen.ends() == ["ok", "cancelled", "cancelled"]
    stored = [each.seq for each in other.read("run")]
    driver.wait(later[0])
    assert later[0].shared == {"first": 1, "streamed": ["a", "b", "c"]}
    events = list(other.read("run"))
    check_events(events)
    assert [each.seq for each in events][: len(stored)] == stored
    assert isinstance(run.error, Conflict)


def test_a_run_that_waits_hears_that_it_was_taken_over(handle: Callable[[], Journal]) -> None:
    """It does not wait for ever."""

    class Asks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            from flowevents import Ask

            yield (yield Ask("Go?"))

    other = handle()
    run = Run(Flow(Asks()), {}, journal=handle(), id="run").start()
    for event in other.follow("run", timeout=PATIENCE):
        if isinstance(event, Interrupt):
            break
    again = Run.resume(Flow(Asks()), other, "run", take_over=True)
    with pytest.raises(Conflict):
        run.wait()
    again.reply("yes")
    again.wait()
    check_events(other.read("run"))


def test_a_run_that_was_deleted_or_whose_id_is_taken(handle: Callable[[], Journal]) -> None:
    """The one stops; the other does not begin."""
    journal, ran = handle(), []
    _begun(Driver(None), journal, Seen()).wait()
    run = _begun(Driver(None), handle(), Seen(), lambda: ran.append(1))
    with pytest.raises(RunStateError, match="has one of that id already"):
        run.wait()
    assert ran == []


# -- a store that fails ---------------------------------------------------------------------------


def test_a_journal_that_is_closed(handle: Callable[[], Journal], driver: Driver) -> None:
    """Stops its runs, and lets them go."""
    seen, journal, other = Seen(), handle(), handle()
    if journal is other:
        pytest.skip("what is in memory is gone with its journal")
    run = _begun(driver, journal, seen, journal.close)
    with pytest.raises(JournalError, match="closed"):
        driver.wait(run)
    assert run.status == "cancelled"
    _check_let_go(driver, other, seen)


_FULL = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, kind = sys.argv[1:]
journal = SQLiteJournal(path)
heard, fills = [], [True]

class First(Node):
    def post(self, shared, prep_res, exec_res):
        shared["first"] = 1

class Fills(Node):
    def exec(self, prep_res):
        if fills:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        for _ in range(10 if kind == "chunks" else 0):
            self.emit("x")
    def post(self, shared, prep_res, exec_res):
        shared["second"] = "y" * 100_000

def made():
    first = First()
    first >> Fills()
    return Flow(first)

run = Run(made(), {}, journal=journal, id="run", observers=[lambda event: heard.append(event)])
try:
    run.wait()
    say("no error")
except JournalError as error:
    say(type(error).__name__, type(error.__cause__).__module__)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
say(run.status, *(each.status for each in heard if isinstance(each, NodeEnd | FlowEnd)))
fills.clear()
again = SQLiteJournal(path)
say(again.runs()[0].status, *(each.node for each in again.read("run") if isinstance(each, NodeEnd)))
run = Run.resume(made(), again, "run", take_over=True)
run.wait()
say(run.status, sorted(run.shared), again.runs()[0].status)
from flowevents.testing import check_events
check_events(again.read("run"))
again.close()
journal.close()
"""


@pytest.mark.parametrize("kind", ["step", "chunks"])
def test_a_disk_that_is_full(tmp_path: Path, kind: str) -> None:
    """Is a `JournalError`; when there is room again the run goes on."""
    with begun(_FULL, tmp_path / "runs.db", kind) as process:
        said, complaints = process.communicate(timeout=PATIENCE)
    assert said.splitlines() == [
        "JournalError sqlite3",
        "cancelled ok cancelled cancelled",
        "running First",
        "done ['first', 'second'] done",
    ], complaints
    assert process.returncode == 0


# -- the end of the process -----------------------------------------------------------------------

_ENDS = """
path, how, kind = sys.argv[1:]
journal = SQLiteJournal(path)

class First(Node):
    def post(self, shared, prep_res, exec_res):
        shared["first"] = 1

class Streams(StreamNode):
    def exec_stream(self, prep_res):
        yield "a"
        if how in ("exit", "raise"):
            sys.exit(3) if how == "exit" else 1 / 0
        if how == "thread":
            ready.set()
            threading.Event().wait(0.05)
        yield "b"
        yield "c"

class StreamsAsync(AsyncStreamNode):
    node_name = "Streams"
    async def exec_stream_async(self, prep_res):
        for each in Streams().exec_stream(prep_res):
            yield each

class Says:
    def on_flow_end(self, event):
        say("end", event.status)

ready = threading.Event()
first = First()
first >> (StreamsAsync() if kind == "async" else Streams())
flow = (AsyncFlow if kind == "async" else Flow)(first)
run = Run(flow, {}, journal=journal, id="run", observers=[Says()])
if how == "thread":
    run.start()
    ready.wait()
elif how == "exit":
    if kind == "async":
        import asyncio
        asyncio.run(run.wait_async())
    else:
        run.wait()
else:
    if kind == "async":
        import asyncio
        async def main():
            async for event in run:
                if isinstance(event, Chunk):
                    return
        asyncio.run(main())
    else:
        for event in run:
            if isinstance(event, Chunk):
                break
say("over")
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("how", ["left", "exit"])
def test_the_end_of_the_process(tmp_path: Path, how: str, kind: str) -> None:
    """Its runs are let go: they can be resumed at once."""
    with begun(_ENDS, tmp_path / "runs.db", how, kind) as process:
        said, complaints = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in complaints
    assert process.returncode == (3 if how == "exit" else 0)
    if kind == "sync" or how == "exit":
        assert "end cancelled" in said
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        assert (journal.runs()[0].status, journal.due()) == ("running", ["run"])
        with driving(kind) as driver:
            _check_goes_on(driver, journal)
