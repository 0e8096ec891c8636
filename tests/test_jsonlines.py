"""JsonLines and read_events: what is written is read again, whatever happened to the file."""

from __future__ import annotations

import gc
import io
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowevents import (
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowStart,
    Node,
    NodeStart,
    Run,
    RunCancelled,
    StreamNode,
    UnknownEvent,
    events,
    observe,
)
from flowevents.errors import RecordError
from flowevents.events import encode
from flowevents.observers.jsonlines import JsonLines, read_events
from flowevents.testing import check_events
from tests.driving import in_thread
from tests.hostile import CONTROLS, HOSTILE
from tests.stock import Talk


class Each(BatchNode):
    def prep(self, shared: Any) -> Any:
        return "ab"


def flow() -> Flow:
    """A streaming node and a batch."""
    talk = Talk("日本語", "b\n")
    talk >> Each()
    return Flow(talk)


def chunk(data: Any = "x", seq: int = 1, run_id: str = "r1") -> Chunk:
    """An event by hand."""
    return Chunk(run_id=run_id, seq=seq, time=1.5, span=1, node="Talk", data=data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a record may be."""
    return tmp_path / "run.jsonl"


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What comes to the logger `flowevents`."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.levelname} {record.getMessage()}")

    handler = Lines()
    logging.getLogger("flowevents").addHandler(handler)
    yield lines
    logging.getLogger("flowevents").removeHandler(handler)


# -- there and back -------------------------------------------------------------------------------


def test_a_run_is_read_back_as_it_was(path: Path) -> None:
    """The same typed events, in order; and a replay of them is recorded the same."""
    seen: list[Event] = []
    flow().run({}, observers=[seen.append, JsonLines(path)], metadata={"user": "é"})
    read = list(read_events(path))
    assert read == seen
    check_events(read)
    again = path.with_name("again.jsonl")
    with JsonLines(again) as record:
        for event in read:
            record(event)
    assert again.read_bytes() == path.read_bytes()


def test_each_line_is_one_event_of_json(path: Path) -> None:
    """In the form of `events.encode`."""
    Node().run({}, observers=[JsonLines(str(path))])
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines == [events.encode(event) + b"\n" for event in read_events(str(path))]


def test_it_can_be_read_while_it_is_written(path: Path) -> None:
    """Each line is in the file when the handler returns."""
    counts: list[int] = []
    flow().run({}, observers=[JsonLines(path), lambda _: counts.append(len([*read_events(path)]))])
    assert counts == list(range(1, len(counts) + 1))


def test_reading_is_lazy(path: Path) -> None:
    """An error further on comes when it is reached."""
    path.write_bytes(events.encode(chunk()) + b"\nbroken\n")
    reading = read_events(path)
    assert next(reading) == chunk()
    with pytest.raises(RecordError, match="line 2"):
        next(reading)


def test_an_event_of_a_newer_version_is_kept(path: Path) -> None:
    """As an unknown one, which is written again as it was."""
    raw = b'{"type":"Cost","run_id":"r1","seq":9,"time":1.5,"span":2,"node":"Talk","cents":3}\n'
    path.write_bytes(raw)
    (event,) = read_events(path)
    assert isinstance(event, UnknownEvent)
    out = io.BytesIO()
    JsonLines(out)(event)
    assert out.getvalue() == raw


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_in_its_line(text: str, path: Path) -> None:
    """JSON escapes what would end a line or move a cursor; what is read is what was said."""
    with JsonLines(path) as record:
        record(chunk({text: [text]}))
        record(chunk(text, 2))
    raw = path.read_bytes()
    assert raw.count(b"\n") == 2
    assert not {chr(n) for n in range(0x20)} & CONTROLS & set(raw.decode())
    read = list(read_events(path))
    said = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert read == [chunk({said: [said]}), chunk(said, 2)]


# -- files ----------------------------------------------------------------------------------------


def test_an_open_file_is_written_to_and_left_open(tmp_path: Path) -> None:
    """Binary and text, flushed line by line."""
    bytes_file, text_file = io.BytesIO(), io.StringIO()
    with open(tmp_path / "text", "w+", encoding="utf-8") as file:
        for each in (bytes_file, text_file, file):
            with JsonLines(each) as record:
                flow().run({}, observers=[record], id="r1")
            assert not each.closed
        assert list(map(type, read_events(tmp_path / "text"))) == list(
            map(type, read_events(io.BytesIO(bytes_file.getvalue())))
        )
        file.seek(0)
        assert len(list(read_events(file))) == len(text_file.getvalue().splitlines())


def test_the_file_is_closed_with_the_last_run(path: Path) -> None:
    """Nothing need be closed by hand: warnings of files that are left open are errors here."""
    record = JsonLines(path)
    one, two = (Run(flow(), {}, observers=[record], id=each) for each in ("r1", "r2"))
    next(iter(two))
    assert record._file is not None
    one.wait()
    assert record._file is not None
    two.wait()
    assert record._file is None
    Node().run({}, observers=[record])
    streams = defaultdict(list)
    for event in read_events(path):
        streams[event.run_id].append(event)
    assert len(streams) == 3
    for stream in streams.values():
        check_events(stream)


def test_a_cancelled_run_is_closed_too(path: Path) -> None:
    """Its end is recorded as any."""

    class Stop(Node):
        def exec(self, prep_res: Any) -> None:
            run.cancel()

    record = JsonLines(path)
    run = Run(Stop(), {}, observers=[record])
    with pytest.raises(RunCancelled):
        run.wait()
    assert record._file is None
    check_events(read_events(path))


def test_a_record_of_some_events_is_closed_by_hand(path: Path) -> None:
    """No run's end is heard; after `close` another event opens the file again."""
    with JsonLines(path) as record, observe(record, sender=Talk):
        flow().run({})
        assert record._file is not None
    assert record._file is None
    record.close()
    record(chunk())
    record.close()
    assert [*read_events(path)][-1] == chunk()


def test_what_is_dropped_is_closed(path: Path) -> None:
    """Without a warning, which would be an error."""
    record = JsonLines(path)
    record(chunk())
    file = record._file
    del record
    gc.collect()
    assert file.closed


def test_a_path_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    """Not a handler's error in the middle of a run."""
    with pytest.raises(FileNotFoundError):
        JsonLines(tmp_path / "none" / "run.jsonl")
    with pytest.raises(IsADirectoryError):
        JsonLines(tmp_path)
    with pytest.raises(FileNotFoundError):
        next(read_events(tmp_path / "none.jsonl"))


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that goes elsewhere does not split its record."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    record = JsonLines("run.jsonl")
    monkeypatch.chdir(tmp_path / "other")
    Node().run({}, observers=[record])
    assert len(list(read_events(tmp_path / "run.jsonl"))) == 5


@pytest.mark.parametrize("shared", [True, False])
def test_threads_record_into_one_file(path: Path, shared: bool) -> None:
    """By one object or by one each: no line is torn, each run's are in order."""
    one = JsonLines(path)
    start = threading.Barrier(8)

    class Long(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            for _ in range(20):
                yield "x" * 20_000

    def work() -> None:
        start.wait()
        for _ in range(3):
            Long().run({}, observers=[one if shared else JsonLines(path)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    streams = defaultdict(list)
    for event in read_events(path):
        streams[event.run_id].append(event)
    assert len(streams) == 24
    for stream in streams.values():
        check_events(stream)


# -- torn and broken lines ------------------------------------------------------------------------


def test_a_torn_last_line_is_reported_and_skipped(path: Path, said: list[str]) -> None:
    """Wherever it was torn, in the middle of a character too."""
    first, last = events.encode(chunk("日本語")) + b"\n", events.encode(chunk("é日本語", 2))
    for cut in range(1, len(last)):
        path.write_bytes(first + last[:cut])
        assert list(read_events(path)) == [chunk("日本語")]
        assert len(said) == cut
        assert said[-1].startswith(f"WARNING {path}, line 2 is torn and was skipped: ")
    path.write_bytes(first + last)  # only its newline is missing
    assert list(read_events(path)) == [chunk("日本語"), chunk("é日本語", 2)]


@pytest.mark.parametrize("tail", [b"\x00" * 100, b'{"type":"Chunk","run_id":"r\x00\x00', b'{"ty\n'])
def test_what_a_disk_leaves_of_a_line_is_torn(path: Path, said: list[str], tail: bytes) -> None:
    """Zeros where a block was not written any more."""
    path.write_bytes(events.encode(chunk()) + b"\n" + tail)
    assert list(read_events(path)) == [chunk()]
    assert len(said) == 1


def test_appending_removes_a_torn_line(path: Path, said: list[str]) -> None:
    """Wherever it was torn: nothing merges with it, and the record is whole again."""
    first, last = events.encode(chunk()) + b"\n", events.encode(chunk("é" * 40_000, 2))
    for cut in (1, 5, 40, 100, 70_000, len(last) - 1):
        said.clear()
        path.write_bytes(first + last[:cut])
        JsonLines(path)(chunk("new", 3))
        assert list(read_events(path)) == [chunk(), chunk("new", 3)]
        (line,) = said
        assert line.startswith(f"WARNING {path} ended with a torn line, which was removed: b'{{")
    path.write_bytes(first + last)
    said.clear()
    JsonLines(path)(chunk("new", 3))
    assert list(read_events(path)) == [chunk(), chunk("é" * 40_000, 2), chunk("new", 3)]
    assert said == []


def test_a_file_of_something_else_is_not_written_to(path: Path) -> None:
    """Least of all is its last line removed."""
    for raw in (b"Dear diary", b"a,b\n1,2", b"{}", b'[{"type":"Chunk"'):
        path.write_bytes(raw)
        with pytest.raises(RecordError, match="which is no event: nothing is appended to it"):
            JsonLines(path)
        assert path.read_bytes() == raw


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"not json", "malformed"),
        (b'{"type":"Chu', "truncated"),
        (b"{}", "missing required field `type`"),
        (b'{"type":"Chunk","run_id":"r1"}', "missing required field"),
        (b'{"type":"Chunk","run_id":1}', "Expected `str`, got `int`"),
        (b"[" * 100_000, "overflow" if sys.version_info >= (3, 14) else "recursion"),
        (b"\xff\xfe", "malformed"),
    ],
)
def test_a_broken_line_in_the_middle_is_an_error(path: Path, line: bytes, what: str) -> None:
    """It names the file and the line; what stands before it was given."""
    good = events.encode(chunk())
    path.write_bytes(b"\n".join([good, b"", line, good, b""]))
    read: list[Event] = []
    with pytest.raises(RecordError) as raised:
        read.extend(read_events(path))
    assert str(raised.value).startswith(f"{path}, line 3 is no event: ")
    assert what in str(raised.value)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("line", [b"not json", b"{}", b'{"type":"Chunk","run_id":"r1"}'])
def test_a_last_line_that_is_not_torn_is_an_error(path: Path, line: bytes) -> None:
    """It never was the beginning of an event."""
    path.write_bytes(events.encode(chunk()) + b"\n" + line)
    with pytest.raises(RecordError, match="line 2 is no event"):
        list(read_events(path))


def test_an_empty_file_has_no_events(path: Path) -> None:
    """Nor has one of empty lines."""
    JsonLines(path)
    assert path.read_bytes() == b""
    assert list(read_events(path)) == []
    path.write_bytes(b"\n\r\n")
    assert list(read_events(path)) == []


CRASH = """
import os, sys
from flowevents import StreamNode
from flowevents.observers.jsonlines import JsonLines

class Talk(StreamNode):
    def exec_stream(self, prep_res):
        for n in range(100):
            yield n
        os.kill(os.getpid(), 9)

Talk().run({}, observers=[JsonLines(sys.argv[1])], id="r1")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a kill that nothing survives")
def test_a_process_that_is_killed_loses_nothing_that_was_said(path: Path) -> None:
    """What its handlers had seen is in the file."""
    done = subprocess.run([sys.executable, "-c", CRASH, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    read = list(read_events(path))
    check_events(read, complete=False)
    assert [event.data for event in read if isinstance(event, Chunk)] == list(range(100))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_is_the_handlers_error_and_no_end_of_the_run(said: list[str]) -> None:
    """As with any handler that raises."""
    assert Node().run({}, observers=[JsonLines("/dev/full")], id="r1") is None
    assert said[0].startswith("ERROR Handler ")
    assert "failed on FlowStart (seq 1) of run r1" in said[0]


RESOURCE = """
import resource, signal, sys
from flowevents import Chunk
from flowevents.observers.jsonlines import JsonLines

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
record = JsonLines(sys.argv[1])
one = Chunk(run_id="r1", seq=1, time=1.5, span=1, node="Talk", data="x" * 100)
record(one)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
try:
    record(one)
except OSError as error:
    print("failed", error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
record(one)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_a_line_that_could_not_be_written_leaves_nothing(path: Path) -> None:
    """What a full disk took of it does not spoil the next."""
    done = subprocess.run(
        [sys.executable, "-c", RESOURCE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("failed")
    assert [event.seq for event in read_events(path)] == [1, 1]


def test_an_object_that_was_never_made_can_go() -> None:
    """An error in the constructor is the only thing that is seen."""
    with pytest.raises(AttributeError):
        JsonLines(None)(chunk())  # type: ignore[arg-type]
    gc.collect()


def test_other_threads_may_close_it(path: Path) -> None:
    """While it is written to, too."""
    record = JsonLines(path)

    class Closing(Node):
        def exec(self, prep_res: Any) -> None:
            in_thread(record.close)

    Closing().run({}, observers=[record])
    check_events(read_events(path))
    assert isinstance(next(read_events(path)), FlowStart)
    assert any(isinstance(event, NodeStart) for event in read_events(path))


# -- several writers ------------------------------------------------------------------------------

WRITER = """
import sys
from flowevents import Chunk, JsonLines
from flowevents.errors import RecordError

try:
    with JsonLines(sys.argv[1]) as record:
        record(Chunk(run_id="r2", seq=1, time=1.5, span=1, node="Talk", data="of another"))
except RecordError as error:
    print(error)
"""


def another_writes(path: Path) -> str:
    """What another process says that records an event there."""
    return subprocess.run(
        [sys.executable, "-c", WRITER, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="needs locks of files")


@needs_locks
def test_two_processes_do_not_write_to_one_file(path: Path) -> None:
    """The second is refused, as long as a run of the first is under way."""
    with JsonLines(path) as record:
        assert another_writes(path) == ""
        record(chunk())
        assert f"Somebody else writes to {path} now" in another_writes(path)
        with JsonLines(path) as other:  # of the same process
            other(chunk(seq=2))
        list(read_events(path))
        assert "Somebody else" in another_writes(path)
        record(chunk(seq=3))
    assert another_writes(path) == ""
    assert [event.run_id for event in read_events(path)] == ["r2", "r1", "r1", "r1", "r2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_does_not_write_to_its_parents_file(path: Path) -> None:
    """It is refused too, and what it has of the file keeps nobody out when the parent is done."""
    record, ended = JsonLines(path), os.pipe()
    record(chunk())
    waits = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests may have left threads
        child = os.fork()
    if child == 0:
        try:
            record(chunk(data="of a child"))
            os.write(ended[1], b"written")
        except RecordError:
            os.write(ended[1], b"refused")
        finally:
            os.read(waits[0], 1)
            os._exit(0)
    try:
        assert os.read(ended[0], 7) == b"refused"
        record(chunk(seq=2))
        record.close()
        assert another_writes(path) == ""
    finally:
        os.write(waits[1], b"x")
        os.waitpid(child, 0)
        for descriptor in (*ended, *waits):
            os.close(descriptor)
    assert [event.run_id for event in read_events(path)] == ["r1", "r1", "r2"]


@needs_locks
def test_what_is_no_regular_file_is_open_to_all() -> None:
    """A pipe, and `/dev/stdout` that is one."""
    code = (
        "from tests.test_jsonlines import *; flow().run({}, observers=[JsonLines('/dev/stdout')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=60
    )
    check_events(read_events(io.BytesIO(done.stdout)))


def test_a_long_torn_line_is_found_in_linear_time(path: Path, said: list[str]) -> None:
    """Of many megabytes, such as a record of pictures."""
    spent: list[float] = []
    for megabytes in (4, 32):
        with open(path, "wb") as file:
            file.write(encode(chunk()) + b"\n" + b'{"type":"Chunk","data":"')
            for _ in range(megabytes):
                file.write(b"x" * 1_000_000)
        began = time.process_time()
        with JsonLines(path):
            spent.append(time.process_time() - began)
        assert len(list(read_events(path))) == 1
    assert spent[1] < 32 * max(spent[0], 0.01)
    assert len(said) == 2
