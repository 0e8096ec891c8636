"""What travels between a driver and its workers, and how it is pickled."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, Final

import msgspec

from flowevents.errors import FlowEventsError
from flowevents.messages import traceback_text

__all__ = [
    "BEGUN",
    "CHUNK",
    "PROGRESS",
    "RETRY",
    "Group",
    "Message",
    "Outcome",
    "Task",
    "Work",
    "WorkerTraceback",
    "bare",
    "loaded_task",
    "packed",
    "packed_argument",
    "packed_error",
    "packed_node",
    "unpacked",
    "unpacked_error",
]

BEGUN: Final = 0
"""`(BEGUN,)`, the first message of every execution: a worker runs the item."""
CHUNK: Final = 1
"""`(CHUNK, data, kind)`."""
PROGRESS: Final = 2
"""`(PROGRESS, done, total, label)`."""
RETRY: Final = 3
"""`(RETRY, error, wait, fallback)`: this attempt failed, another one or the fallback comes."""

Message = tuple[Any, ...]
"""What a worker says of an item: one of the above."""


class Group(msgspec.Struct, frozen=True, array_like=True):
    """Messages of one execution of an item, in order.

    Attributes:
        token: Drawn by the worker for this execution.
        first: How many messages of the execution came before these.
    """

    token: str
    first: int
    messages: list[Message]


class Task(msgspec.Struct):
    """What a worker gets: a copy of the node, one item, and the place of that in the run.

    Attributes:
        node, argument: Themselves, or pickled.
        run_id, path, items, step: As in events.
        losses: How many of the attempts before were lost with their worker.
        failures: How many have failed; `error` what the last one said, where the node's
            `exec_fallback` is next.
    """

    node: Any
    argument: Any
    run_id: str
    path: str
    items: tuple[int, ...]
    step: int
    losses: int = 0
    failures: int = 0
    error: str | None = None

    def is_pickled(self) -> bool:
        """Whether it goes to another process, and what comes of it comes back from there."""
        return isinstance(self.node, bytes)


Work = Callable[[Task, Any], "Outcome"]
"""What a worker does: it gets the task and its outlet, and raises nothing."""


class Outcome(msgspec.Struct):
    """How an execution of an item ended: the result of its future.

    Attributes:
        token, count: Which execution it was, and how many messages it has sent.
        value, error: What the item gave, or what it raised; pickled where the lane pickles.
        duration: How long it took, in seconds.
        stopped: It was told to stop, and did.
    """

    token: str
    count: int
    value: Any = None
    error: Any = None
    duration: float = 0.0
    stopped: bool = False


class WorkerTraceback(Exception):
    """The traceback of an error in another process, as text: the `__cause__` of that error."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Pickled(msgspec.Struct, frozen=True):
    """A value that was pickled when it was said: it may change afterwards."""

    raw: bytes


_PLAIN: Final = frozenset({str, bytes, int, float, bool, type(None)})


def packed(value: Any, what: str) -> Any:
    """Return a value as it can be sent to another process, and as it is now.

    Raises `FlowEventsError` for one that cannot be pickled; `what` is the subject of its text.
    """
    if type(value) in _PLAIN:
        return value
    return _Pickled(_dumped(value, what))


def unpacked(value: Any) -> Any:
    """Return what was packed. Raises `FlowEventsError` where that cannot be had here."""
    if type(value) is not _Pickled:
        return value
    return _loaded(value.raw, "What a worker gave")


def packed_node(node: Any, path: str) -> bytes:
    """Return a copy of a node, pickled: without the rest of its graph, and what the engine adds.

    Raises `FlowEventsError`, which names the attribute that cannot be pickled.
    """
    sent = bare(node)
    try:
        return pickle.dumps(sent, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise _unsendable(sent, path, error) from error


def bare(node: Any) -> Any:
    """Return a copy of a node as a worker gets it."""
    sent = copy.copy(node)
    for name in ("_flowevents_step", "_flowevents_workers"):
        sent.__dict__.pop(name, None)
    sent.successors = {}
    return sent


def packed_argument(argument: Any, index: int, path: str) -> Any:
    """Return an item, pickled. Raises `FlowEventsError`, which names it."""
    return packed(argument, f"Item {index} of node {path!r}")


def packed_error(error: BaseException) -> Any:
    """Return what was raised, with its traceback as text; what cannot be pickled, described."""
    text = traceback_text(error, whole=False)
    try:
        raw = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        if type(pickle.loads(raw)) is type(error):
            return raw, text
    except Exception:
        pass
    instead = FlowEventsError(
        f"{type(error).__module__}.{type(error).__qualname__}: {error} (it was raised in a worker, "
        "and cannot be pickled)"
    )
    for note in getattr(error, "__notes__", ()):
        instead.add_note(note)
    return pickle.dumps(instead, pickle.HIGHEST_PROTOCOL), text


def unpacked_error(packed: Any) -> BaseException:
    """Return what a worker raised; what came from another process has its traceback as cause."""
    if isinstance(packed, BaseException):
        return packed
    raw, text = packed
    error = _loaded(raw, "What a worker raised")
    assert isinstance(error, BaseException)
    error.__cause__ = WorkerTraceback(text)
    return error


def loaded_task(task: Task) -> tuple[Any, Any]:
    """Return the node and the item of a task. Raises `FlowEventsError` where the worker cannot."""
    if not task.is_pickled():
        return task.node, task.argument
    node = _loaded(task.node, f"Node {task.path!r}")
    return node, unpacked(task.argument)


def _dumped(value: Any, what: str) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise FlowEventsError(
            f"{what} is a {_type_name(value)}, which cannot be pickled for another process "
            f"({type(error).__name__}: {error}). Use plain values, or classes of a module."
        ) from error


def _loaded(raw: bytes, what: str) -> Any:
    try:
        return pickle.loads(raw)
    except Exception as error:
        hint = "What goes to a worker and back has to be importable on both sides."
        if b"__main__" in raw:
            hint = (
                "It is defined in `__main__`, which is another module in a worker: put it into a "
                "module that both can import."
            )
        raise FlowEventsError(
            f"{what} cannot be unpickled here ({type(error).__name__}: {error}). {hint}"
        ) from error


def _unsendable(node: Any, path: str, error: Exception) -> FlowEventsError:
    """Say what of a node cannot be pickled."""
    for name, value in vars(node).items():
        try:
            pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception as of_value:
            return FlowEventsError(
                f"Node {path!r} cannot be sent to a worker: its attribute {name!r} is a "
                f"{_type_name(value)}, which cannot be pickled ({type(of_value).__name__}: "
                f"{of_value}). Make it in exec, or leave it out by __getstate__."
            )
    return FlowEventsError(
        f"Node {path!r} cannot be sent to a worker: {_type_name(node)} cannot be pickled "
        f"({type(error).__name__}: {error}). Define the class at the top of a module."
    )


def _type_name(value: Any) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )
