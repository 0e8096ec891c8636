"""The typed events of a run: one frozen record per thing that can happen, and their JSON.

Nothing here does anything: an event holds names, ids and plain values, never live objects, so
that copying, other threads, other processes and replays can work with it. Fields are only ever
added, with defaults. The order in which events may come is checked by
`flowevents.testing.check_events`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import msgspec

from flowevents.plain import encode as encode_value
from flowevents.plain import is_deep, plain

__all__ = [
    "EVENT_TYPES",
    "Action",
    "Chunk",
    "Event",
    "FlowEnd",
    "FlowStart",
    "Interrupt",
    "ItemEnd",
    "ItemStart",
    "NodeEnd",
    "NodeStart",
    "Progress",
    "Reply",
    "Retry",
    "Status",
    "UnknownEvent",
    "decode",
    "describe_error",
    "encode",
]

Status = Literal["ok", "error", "cancelled"]
"""How a flow, a step or an item ended."""

MAX_ERROR = 2_000
"""The most characters that an `error` field holds."""


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="type", gc=False, weakref=False):
    """What every event has, in this order; what a type has of its own is given by name.

    Attributes:
        run_id: The run, by default 128 random bits as 32 hexadecimal digits; no credential.
        seq: 1, 2, 3 … within the run; a start always takes a number, another event that
            nobody listens to need not.
        time: Seconds since the epoch, UTC.
        span: `seq` of the start event that this event belongs to; a start's own `seq`.
        node: The node's path in the run, `"Research/Search"`; `""` for the run's own flow.
        items: Indexes of the batch items that it belongs to, outermost first.
        step: Which execution of that node in this execution of its flow, from 1; 0 for the
            run's own flow.
        attempt: Which try of `exec`, from 1; 0 on events of flows and of a batch flow's items.
    """

    signal: ClassVar[str] = ""
    """The name of the signal that sends this type of event."""

    run_id: str
    seq: int
    time: float
    span: int
    node: str
    items: tuple[int, ...] = ()
    step: int = 0
    attempt: int = 0


class FlowStart(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """A flow, top-level or nested, begins; `parent` is the enclosing start's `seq`, or 0."""

    signal: ClassVar[str] = "flow_start"
    parent: int
    flow: str
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class NodeStart(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """A node is about to run its `prep`."""

    signal: ClassVar[str] = "node_start"
    parent: int


class ItemStart(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """An item of a batch begins.

    `total` is `None` where the batch does not know its length; `label` is what `item_label` says.
    """

    signal: ClassVar[str] = "item_start"
    parent: int
    total: int | None = None
    label: str = ""


class Chunk(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """A streaming node yielded `data`, or a node called `self.emit(data, kind=…)`."""

    signal: ClassVar[str] = "chunk"
    data: Any
    kind: str = "output"


class Progress(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """A node called `self.progress(done, total, label)`."""

    signal: ClassVar[str] = "progress"
    done: float
    total: float | None = None
    label: str = ""


class Retry(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """This attempt failed and another follows: the chunks of this attempt are void.

    `wait` is the pause before the next attempt in seconds; with `fallback` what follows is the
    node's own `exec_fallback`.
    """

    signal: ClassVar[str] = "retry"
    error: str
    wait: float = 0.0
    fallback: bool = False


class Interrupt(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """A node asks a question and waits; `expires` is in seconds since the epoch."""

    signal: ClassVar[str] = "interrupt"
    id: str
    prompt: Any
    choices: list[Any] | None = None
    schema: dict[str, Any] | None = None
    expires: float | None = None


class Reply(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """The accepted answer to question `id` is handed to the node."""

    signal: ClassVar[str] = "reply"
    id: str
    value: Any


class ItemEnd(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """An item ended after `duration` seconds; `done` items have ended, this one included."""

    signal: ClassVar[str] = "item_end"
    status: Status
    duration: float
    error: str | None = None
    done: int = 0
    total: int | None = None


class NodeEnd(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """A step ended after `duration` seconds.

    Where the run captures them, `input` is `prep_res`, also of a step that failed, and `result` is
    `exec_res`.
    """

    signal: ClassVar[str] = "node_end"
    status: Status
    duration: float
    error: str | None = None
    result: Any = None
    input: Any = None


class Action(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """The transition taken after a step that is ok; `target` is the next node's path.

    `known` is `False` where the node has successors and the action is none of them.
    """

    signal: ClassVar[str] = "action"
    action: str | None
    target: str | None = None
    known: bool = True


class FlowEnd(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """A flow ended after `duration` seconds; nothing follows the top-level one."""

    signal: ClassVar[str] = "flow_end"
    status: Status
    duration: float
    action: str | None = None
    error: str | None = None


class UnknownEvent(Event, frozen=True, kw_only=True, tag=True, tag_field="type", gc=False):
    """An event of a type that this version does not know, as a newer writer left it.

    `fields` holds the whole JSON object, `type` included, and is what `encode` writes again.
    """

    fields: dict[str, Any] = msgspec.field(default_factory=dict)


EVENT_TYPES: tuple[type[Event], ...] = (
    FlowStart,
    NodeStart,
    ItemStart,
    Chunk,
    Progress,
    Retry,
    Interrupt,
    Reply,
    ItemEnd,
    NodeEnd,
    Action,
    FlowEnd,
)
"""Every type that a run sends, in the order of the design's table."""

_KNOWN = frozenset(kind.__name__ for kind in EVENT_TYPES)

_DEEP = 310
"""Bytes of JSON, in fewer of which no event has room for data that are nested too deep."""


def describe_error(error: BaseException, limit: int | None = MAX_ERROR) -> str:
    """What an `error` field says of an exception: `"ValueError: …"`, at most 2,000 characters."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as broken:
        text = f"<its text failed with {type(broken).__name__}>"
    return (f"{name}: {text}" if text else name)[:limit]


_decoder: Callable[[bytes | str], Event] | None = None


def encode(event: Event) -> bytes:
    """The event as one line of JSON, with its type's name in the field `type`.

    What JSON cannot hold in `data`, `value`, `result` and the other free fields becomes
    `{"$type": qualified name}`, and so does what lies more than 100 containers deep; a lone
    surrogate becomes U+FFFD. An event always encodes.
    """
    written = event.fields if type(event) is UnknownEvent else event
    try:
        raw = encode_value(written)
    except Exception:  # a key, a cycle, a number or a surrogate that JSON cannot hold
        pass
    else:
        if len(raw) < _DEEP or type(getattr(event, "data", None)) is str or not is_deep(raw, 1):
            return raw
    if written is not event:
        return encode_value(plain(written))
    fields = {name: plain(getattr(event, name)) for name in event.__struct_fields__}
    return encode_value({"type": type(event).__name__, **fields})


def decode(raw: bytes | str) -> Event:
    """The event that `encode` wrote.

    A type that this version does not know is given as `UnknownEvent`; unknown fields of a
    known type are ignored. Raises `msgspec.ValidationError` where the JSON is no event, and
    `msgspec.DecodeError` where it is no JSON.
    """
    global _decoder
    if _decoder is None:  # built at first use: the union takes a millisecond
        _decoder = msgspec.json.Decoder(functools.reduce(operator.or_, EVENT_TYPES)).decode
    try:
        return _decoder(raw)
    except msgspec.ValidationError:
        fields = msgspec.json.decode(raw)
        if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
            raise
        if fields["type"] in _KNOWN:
            raise
    base = msgspec.convert(
        {name: fields[name] for name in Event.__struct_fields__ if name in fields}
        | {"type": "Event"},
        Event,
    )
    common = {name: getattr(base, name) for name in Event.__struct_fields__}
    return UnknownEvent(**common, fields=fields)
