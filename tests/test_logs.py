"""LogObserver: levels, one line whatever a model wrote, fields that formatters pick up."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from flowevents import (
    Action,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    ObserverError,
    Progress,
    Reply,
    Retry,
    StreamNode,
    UnknownEvent,
    observe,
    signals,
)
from flowevents.events import EVENT_TYPES
from flowevents.observers.logs import LEVELS, LogObserver
from tests.hostile import CONTROLS, HOSTILE

COMMON: dict[str, Any] = {"run_id": "r1", "time": 1.5, "span": 2, "node": "Plan", "step": 1}
AGAIN: dict[str, Any] = {**COMMON, "step": 2}
OWN: dict[str, Any] = {**COMMON, "node": "", "step": 0}


class Kept(logging.Handler):
    """Keeps the records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def lines(self) -> list[str]:
        """Each record's level and message."""
        return [f"{record.levelname} {record.getMessage()}" for record in self.records]


@pytest.fixture
def kept() -> Kept:
    """What comes to the logger of these tests."""
    return Kept()


@pytest.fixture
def logger(kept: Kept) -> Iterator[logging.Logger]:
    """A logger of its own, which logs everything."""
    logger = logging.Logger("tests.logs", logging.DEBUG)
    logger.addHandler(kept)
    yield logger
    logger.handlers.clear()


class Write(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "one\n"
        yield "two"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return "check"


class Check(BatchNode):
    def prep(self, shared: Any) -> Any:
        return "ab"

    def exec(self, item: Any) -> Any:
        self.progress(1, total=2, label="letters")
        return item


def flow() -> Flow:
    """Two nodes, one of them a batch."""
    write = Write()
    write - "check" >> Check()
    return Flow(write)


def test_a_run_is_logged_line_by_line(logger: logging.Logger, kept: Kept) -> None:
    """With the levels of the table, and no chunks."""
    flow().run({}, observers=[LogObserver(logger)], id="r1")
    lines = [line.split(" after ")[0] for line in kept.lines()]
    assert lines == [
        "INFO The flow begins: Flow (run r1)",
        "INFO Write begins (run r1)",
        "INFO Write ended",
        "DEBUG Write -> Check by check (run r1)",
        "INFO Check begins (run r1)",
        "DEBUG Check[0] begins, one of 2 (run r1)",
        "DEBUG Check[0] is at 1 of 2 letters (run r1)",
        "DEBUG Check[0] ended",
        "DEBUG Check[1] begins, one of 2 (run r1)",
        "DEBUG Check[1] is at 1 of 2 letters (run r1)",
        "DEBUG Check[1] ended",
        "INFO Check ended",
        "DEBUG Check -> the end (run r1)",
        "INFO The flow ended",
    ]


MESSAGES: list[tuple[Event, str]] = [
    (
        Retry(seq=4, attempt=1, error="ValueError: no", wait=0.5, **COMMON),
        "WARNING Plan tries again in 0.5 s after attempt 1: ValueError: no (run r1)",
    ),
    (
        Retry(seq=4, attempt=2, error="ValueError: no", fallback=True, **COMMON),
        "WARNING Plan falls back after attempt 2: ValueError: no (run r1)",
    ),
    (
        Interrupt(seq=4, id="q", prompt="Ship it?", choices=["yes", "no"], **COMMON),
        'INFO Plan asks: Ship it? ["yes","no"] (run r1)',
    ),
    (
        Interrupt(seq=4, id="q", prompt={"text": "Ship it?"}, **COMMON),
        'INFO Plan asks: {"text":"Ship it?"} (run r1)',
    ),
    (Reply(seq=5, id="q", value=True, **COMMON), "INFO Plan gets the answer: true (run r1)"),
    (
        Chunk(seq=5, data="x" * 300, kind="thought", items=(3, 1), **AGAIN),
        f"DEBUG Plan[3][1] (step 2) gives thought: {'x' * 200}… (run r1)",
    ),
    (Progress(seq=5, done=2.5, **COMMON), "DEBUG Plan is at 2.5 (run r1)"),
    (
        ItemEnd(seq=5, status="error", duration=1.0, error="E: x", items=(0,), **COMMON),
        "DEBUG Plan[0] failed after 1.000 s: E: x (run r1)",
    ),
    (
        NodeEnd(seq=5, status="error", duration=1.25, error="E: x", **COMMON),
        "ERROR Plan failed after 1.250 s: E: x (run r1)",
    ),
    (
        FlowEnd(seq=9, status="cancelled", duration=0.0, **OWN),
        "WARNING The flow was cancelled after 0.000 s (run r1)",
    ),
    (
        UnknownEvent(seq=9, fields={"type": "Cost", "cents": 3}, **COMMON),
        "DEBUG Plan sends Cost (run r1)",
    ),
]


IDS = [f"{n} {type(e).__name__}" for n, (e, _) in enumerate(MESSAGES)]


@pytest.mark.parametrize(("event", "line"), MESSAGES, ids=IDS)
def test_what_a_line_says(event: Event, line: str, logger: logging.Logger, kept: Kept) -> None:
    """Of each type of event, taken by hand; failures are errors, cancelled ends warnings."""
    LogObserver(logger, levels={Chunk: logging.DEBUG})(event)
    assert kept.lines() == [line]


def test_every_type_has_a_level() -> None:
    """Also a type that is added."""
    assert tuple(LEVELS) == EVENT_TYPES


def test_levels_can_be_changed_and_types_left_out(logger: logging.Logger, kept: Kept) -> None:
    """A type without a level is not listened to, so that none is made for it."""
    quiet = dict.fromkeys(EVENT_TYPES)
    observer = LogObserver(logger, levels={**quiet, Chunk: logging.WARNING, NodeEnd: 35})
    heard = [kind.signal for kind in EVENT_TYPES if hasattr(observer, f"on_{kind.signal}")]
    assert heard == ["chunk", "node_end"]
    with observe(observer, sender=Write):
        flow().run({}, id="r1")
        assert signals.chunk.receivers
        assert not signals.action.receivers
    assert [record.levelno for record in kept.records] == [30, 30, 35]
    assert kept.lines()[0] == "WARNING Write gives output: one\\n (run r1)"


def test_a_failed_end_of_a_type_that_is_off_is_not_logged(
    logger: logging.Logger, kept: Kept
) -> None:
    """`None` is for not at all, also by hand."""
    observer = LogObserver(logger, levels={NodeEnd: None})
    observer(NodeEnd(seq=5, status="error", duration=1.0, error="E: x", **COMMON))
    assert kept.records == []


def test_nothing_is_written_for_a_level_that_the_logger_drops(
    logger: logging.Logger, kept: Kept
) -> None:
    """As with any record."""
    logger.setLevel(logging.ERROR)
    flow().run({}, observers=[LogObserver(logger)])
    assert kept.records == []


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ({"chunk": 10}, "'chunk' in levels is no event type"),
        ({Event: 10}, "in levels is no event type"),
        ({Chunk: "DEBUG"}, "the level of Chunk is 'DEBUG'"),
        ({Chunk: True}, "the level of Chunk is True"),
    ],
)
def test_levels_that_make_no_sense_are_refused(levels: Any, said: str) -> None:
    """Where the observer is made, not when the first event comes."""
    with pytest.raises(ObserverError, match=said):
        LogObserver(levels=levels)


def test_the_default_logger_is_flowevents_events(caplog: pytest.LogCaptureFixture) -> None:
    """Below `flowevents`, so that both can be set apart or together."""
    with caplog.at_level(logging.INFO, logger="flowevents"):
        Node().run({}, observers=[LogObserver()])
    assert {record.name for record in caplog.records} == {"flowevents.events"}


# -- fields ---------------------------------------------------------------------------------------


class JsonFormatter(logging.Formatter):
    """Writes a record's message and what `extra` gave, as such formatters do."""

    known = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None)))

    def format(self, record: logging.LogRecord) -> str:
        own = {name: each for name, each in vars(record).items() if name not in self.known}
        return json.dumps({"message": record.getMessage(), **own}, ensure_ascii=False)


def test_a_json_formatter_picks_up_the_fields(logger: logging.Logger) -> None:
    """Each under its name with the prefix, and nothing beside them."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter())
    logger.handlers[:] = [handler]
    event = Chunk(seq=3, data={"a": [1, "b\n", None]}, items=(2,), attempt=1, **COMMON)
    LogObserver(logger, levels={Chunk: 20})(event)
    assert json.loads(out.getvalue()) == {
        "message": 'Plan[2] gives output: {"a":[1,"b\\\\n",null]} (run r1)',
        "flowevents_type": "Chunk",
        "flowevents_run_id": "r1",
        "flowevents_seq": 3,
        "flowevents_time": 1.5,
        "flowevents_span": 2,
        "flowevents_node": "Plan",
        "flowevents_items": [2],
        "flowevents_step": 1,
        "flowevents_attempt": 1,
        "flowevents_data": {"a": [1, "b\\n", None]},
        "flowevents_kind": "output",
    }


def test_structlog_picks_up_the_fields(logger: logging.Logger) -> None:
    """Its ProcessorFormatter renders our records as its own."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logger.handlers[:] = [handler]
    flow().run({}, observers=[LogObserver(logger)], id="r1")
    first, *_, last = map(json.loads, out.getvalue().splitlines())
    assert (first["event"], first["level"]) == ("The flow begins: Flow (run r1)", "info")
    assert (first["flowevents_type"], first["flowevents_flow"]) == ("FlowStart", "Flow")
    assert (last["flowevents_status"], last["flowevents_run_id"]) == ("ok", "r1")


def test_what_json_cannot_hold_is_named(logger: logging.Logger, kept: Kept) -> None:
    """A field is always plain: nothing fails because it was logged."""
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = "end"
    for _ in range(90):
        deep = [deep]
    observer = LogObserver(logger, levels={Chunk: 20})
    for data in (Kept(), circle, deep, {1: {2}, "x": float("nan")}):
        observer(Chunk(seq=3, data=data, **COMMON))
    fields = [vars(record)["flowevents_data"] for record in kept.records]
    assert fields[0] == {"$type": "tests.test_logs.Kept"}
    assert fields[1] == [{"$type": "builtins.list"}]
    assert "…" in json.dumps(fields[2], ensure_ascii=False)
    assert fields[3] == {"1": [2], "x": None}


# -- untrusted text -------------------------------------------------------------------------------


def hostile_events(text: str) -> list[Event]:
    """Every type of event with that text wherever there is one."""
    common: dict[str, Any] = {"run_id": text or "r", "seq": 1, "time": 1.0, "span": 1, "node": text}
    return [
        FlowStart(parent=0, flow=text, metadata={text: [text]}, **common),
        NodeStart(parent=1, **common),
        ItemStart(parent=1, label=text, **common),
        Chunk(data=text, kind=text, **common),
        Chunk(data={text: {text: text}}, **common),
        Progress(done=1, label=text, **common),
        Retry(error=text, **common),
        Interrupt(id=text, prompt=text, choices=[text], schema={text: text}, **common),
        Reply(id=text, value=text, **common),
        ItemEnd(status="error", duration=1.0, error=text, **common),
        NodeEnd(status="error", duration=1.0, error=text, result=text, **common),
        Action(action=text, target=text, **common),
        FlowEnd(status="ok", duration=1.0, action=text, error=text, **common),
        UnknownEvent(fields={"type": text, text: text}, **common),
    ]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_in_its_line(text: str, logger: logging.Logger) -> None:
    """In the message and in every field, as a formatter without any escaping writes them."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logger.handlers[:] = [handler]
    observer = LogObserver(logger, levels={Chunk: 20})
    events = hostile_events(text)
    for event in events:
        handler.setFormatter(logging.Formatter("%(message)s %(flowevents_node)s"))
        observer(event)
        handler.setFormatter(PlainFields())
        observer(event)
    lines = out.getvalue().split("\n")
    assert len(lines) == 2 * len(events) + 1
    assert not (CONTROLS | set("\t\u2028\u2029")) & set("".join(lines))
    out.getvalue().encode()


class PlainFields(logging.Formatter):
    """Writes all fields as `str` does, keys and strings as they are."""

    def format(self, record: logging.LogRecord) -> str:
        def flat(value: Any) -> Iterator[str]:
            if isinstance(value, dict):
                for key, each in value.items():
                    yield from (key, *flat(each))
            elif isinstance(value, list):
                for each in value:
                    yield from flat(each)
            else:
                yield str(value)

        own = {name: each for name, each in vars(record).items() if name.startswith("flowevents_")}
        return " ".join(flat(own))


# -- live and replayed ----------------------------------------------------------------------------


def test_a_replay_is_logged_as_the_run_was(logger: logging.Logger, kept: Kept) -> None:
    """By hand, through the signals, of a part of it too."""
    events: list[Event] = []
    observer = LogObserver(logger)
    flow().run({}, observers=[events.append, observer])
    live = kept.lines()
    kept.records.clear()
    with observe(observer):
        for event in events:
            getattr(signals, event.signal).send(event)
    assert kept.lines() == live
    kept.records.clear()
    for event in events[5:]:
        observer(event)
    assert len(kept.records) == sum(not isinstance(each, Chunk) for each in events[5:])
