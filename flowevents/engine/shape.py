"""What a node's class says of it: read once, and again only where its methods have changed.

Nothing is written to a class or to a node.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Sequence
from operator import attrgetter
from types import CodeType
from typing import Any, Final, Literal

from flowevents.errors import GraphError
from flowevents.events import EVENT_TYPES
from flowevents.messages import warn

__all__ = ["Shape", "is_node", "node_name", "own_method", "shape_of", "why_no_node"]

_LIBRARY_CLASSES = frozenset(
    {
        "BaseNode",
        "Node",
        "BatchNode",
        "Flow",
        "BatchFlow",
        "AsyncNode",
        "AsyncBatchNode",
        "AsyncParallelBatchNode",
        "AsyncFlow",
        "AsyncBatchFlow",
        "AsyncParallelBatchFlow",
    }
)
"""PocketFlow's classes; ours have the same names, and some more."""


def is_node(value: object) -> bool:
    """Whether the engine can run it: it has what PocketFlow's nodes have, or does with a node."""
    return (
        not isinstance(value, type)
        and hasattr(value, "successors")
        and (hasattr(value, "_run") or (hasattr(value, "prep") and hasattr(value, "post")))
    )


def why_no_node(value: object) -> str:
    """Return a hint at why it is no node, behind a space, or `""`."""
    if isinstance(value, type):
        return " Did you forget to make an instance of it?"
    if hasattr(value, "prep") and hasattr(value, "post"):
        return f" Its __init__ has to call super().__init__(): see {type(value).__qualname__}."
    if hasattr(value, "src") and (action := getattr(value, "action", None)) is not None:
        return (
            " '-' comes before '>>': put parentheses around what is left of it, as in "
            f"(a >> b) - {action!r} >> c."
        )
    return ""


def node_name(node: object) -> str:
    """A node's `node_name`, by default its class name, as paths hold it.

    `/` and `#`, which separate and number the names in a path, are shown as `∕` and `♯`. A program
    for PocketFlow may have a `node_name` of its own, which is anything.
    """
    try:
        name = getattr(node, "node_name", None)
    except Exception:
        name = None
    name = name if isinstance(name, str) and name else type(node).__name__
    return name.replace("/", "∕").replace("#", "♯")


class Shape:
    """What a node's class says of it.

    Attributes:
        ours: It descends from flowevents' classes, not from pocketflow's.
        is_flow, is_async: Which methods it has.
        batch: `"sequential"`, `"parallel"` or `None`.
        attempt: What one try of it is: a `"call"` of `exec`, one whose result is a `"chunk"`, a
            `"stream"`, or a `"question"` that it asks.
        fallback: It has an `exec_fallback` of its own.
        overrides: Which of PocketFlow's private `run`, `exec` and `orch` it overrides.
        routes: It has a `get_next_node` of its own (or pocketflow's).
        idle: Which of its async methods, and whether `item_label`, are the library's, which do
            nothing.
        sets_params: It has a `set_params` of its own.
        class_keys: The keys of the class and its bases, to which handlers may be connected.
        copies_plainly: To copy its instances is no more than to copy their attributes.
    """

    __slots__ = (
        "attempt",
        "batch",
        "class_keys",
        "copies_plainly",
        "fallback",
        "idle",
        "is_async",
        "is_flow",
        "ours",
        "overrides",
        "routes",
        "sets_params",
    )

    def __init__(self, cls: type, own: Sequence[str] = ()) -> None:
        library = [each for each in cls.__mro__ if _is_library(each)]
        names = {each.__name__ for each in library}
        has = functools.partial(_overrides, cls, own, library)
        self.ours: bool = any(_is_ours(each) for each in library)
        self.is_flow: bool = bool(names & {"Flow", "_Alone"})
        self.is_async: bool = "AsyncNode" in names
        suffix = "_async" if self.is_async else ""
        part = f"_run{suffix}" if self.is_flow else "_exec"
        does = next((each.__name__ for each in library if part in vars(each)), "")
        self.batch: Literal["sequential", "parallel"] | None = None
        if "Batch" in does:
            self.batch = "parallel" if "Parallel" in does else "sequential"
        self.attempt: Literal["call", "chunk", "stream", "question"] = "call"
        if names & {"AskNode", "AsyncAskNode"}:
            self.attempt = "question"
        elif self.ours and hasattr(cls, "keep_chunks"):
            self.attempt = "stream" if has(f"exec_stream{suffix}") else "chunk"
        self.fallback: bool = has(f"exec_fallback{suffix}")
        self.overrides: frozenset[str] = frozenset(
            part
            for part, method in (
                ("run", f"_run{suffix}"),
                ("exec", "_exec"),
                ("orch", f"_orch{suffix}"),
            )
            if has(method)
        )
        self.routes: bool = not self.ours or "_Alone" in names or has("get_next_node")
        self.idle: frozenset[str] = frozenset(
            method
            for method in ("item_label", *(("prep_async", "post_async") if self.is_async else ()))
            if not has(method)
        )
        self.sets_params: bool = has("set_params")
        self.class_keys: tuple[int, ...] = tuple(
            id(each) for each in cls.__mro__ if each is not object
        )
        self.copies_plainly: bool = (
            self.ours and not (self.sets_params or has("__new__")) and _copies_plainly(cls)
        )

    @property
    def nests(self) -> bool:
        """Whether it is a flow that is walked through."""
        return self.is_flow and not self.overrides

    @property
    def calls(self) -> bool:
        """Whether one call of `exec` or `exec_async` is all there is to an attempt."""
        return self.ours and self.attempt == "call"

    @property
    def simple(self) -> bool:
        """Whether plain `prep`, `exec` and `post` calls are all there is to it."""
        return self.calls and not (self.is_flow or self.is_async or self.batch or self.overrides)


def own_method(node: Any, method: str) -> Callable[..., Any] | None:
    """Return that method of a node, where it is the user's."""
    library = [each for each in type(node).__mro__ if _is_library(each)]
    own = _overrides(type(node), list(getattr(node, "__dict__", ())), library, method)
    return getattr(node, method) if own else None


def _overrides(cls: type, own: Sequence[str], library: Sequence[type], method: str) -> bool:
    """Whether it is the instance's own, or the first class that defines it is the user's."""
    if method in own:
        return True
    for each in cls.__mro__:
        if method in vars(each):
            return each not in library
    return False


def _mistake(cls: Any, shape: Shape) -> tuple[str, str] | None:
    """Return what its author has probably not meant: the method, and a sentence."""
    if shape.overrides or not shape.ours:
        return None
    wanted, other = "exec_stream", "exec_stream_async"
    if shape.is_async:
        wanted, other = other, wanted
    kind = "AsyncStreamNode" if shape.is_async else "StreamNode"
    run = "exec_async" if shape.is_async else "exec"
    streams = hasattr(cls, "keep_chunks")
    if not streams and hasattr(cls, wanted):
        return wanted, f"has {wanted}, but is no {kind}: nothing of it is streamed."
    if shape.attempt == "chunk":
        if hasattr(cls, other):
            return other, f"has {other}, but its class streams {wanted}: that is never called."
        if inspect.isgeneratorfunction(getattr(cls, run)):
            return run, f"has a generator as {run}: call it {wanted}, to stream what it yields."
    library = [each for each in cls.__mro__ if _is_library(each)]
    for method in ("prep", "exec", "exec_fallback", "post") if shape.is_async else ():
        plain = _overrides(cls, (), library, method)
        if plain and not _overrides(cls, (), library, f"{method}_async"):
            text = f"has {method}, but is async: it runs {method}_async, and never {method}."
            return method, text
    if not shape.is_flow and not shape.is_async and inspect.iscoroutinefunction(cls.exec):
        return "exec", "has an async exec: derive it from AsyncNode, and call it exec_async."
    return None


def _refuse(node: Any, shape: Shape) -> None:
    """Raise `GraphError` for what cannot be meant: a run would do nothing of it."""
    if shape.overrides or not shape.ours:
        return
    name, kind = type(node).__qualname__, "Flow" if shape.is_flow else "Node"
    for method in () if shape.is_async else ("prep", "post"):
        if inspect.iscoroutinefunction(getattr(node, method)):
            raise GraphError(
                f"{name} has an async {method}, which a plain {kind.lower()} does not await: "
                f"derive it from Async{kind}, and call it {method}_async."
            )
    suffix = "_async" if shape.is_async else ""
    runs = ("exec_async", "exec", "exec_stream", "exec_stream_async")
    if shape.attempt == "chunk" and not any(own_method(node, each) for each in runs):
        raise GraphError(
            f"{name} has no exec_stream{suffix}: define it, and yield there what is streamed, or "
            f"an exec{suffix} whose result is the only chunk."
        )
    for handler in sorted(each for each in _HANDLERS if hasattr(node, each)):
        if not _mentions(type(node), handler):
            raise GraphError(
                f"{name} has {handler!r}, which nothing calls: connect a function with "
                f"signals.{handler[3:]}.connect(function, sender={kind.lower()}), or put the "
                "method into an observer."
            )


_HANDLERS: Final = frozenset(f"on_{kind.signal}" for kind in EVENT_TYPES)


def _mentions(cls: type, name: str) -> bool:
    """Whether the code of a user's class uses an attribute of that name: it is its own."""
    waiting: list[Any] = [
        getattr(each, "__code__", None)
        for base in cls.__mro__
        if base is not object and not _is_library(base)
        for each in vars(base).values()
    ]
    while waiting:
        code = waiting.pop()
        if isinstance(code, CodeType):
            if name in code.co_names or name in code.co_consts:
                return True
            waiting.extend(code.co_consts)
    return False


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("flowevents.")


def _is_library(cls: type) -> bool:
    """Whether it is one of flowevents' classes or one of a pocketflow's, whatever its version."""
    if _is_ours(cls):
        return True
    base = next((each for each in cls.__mro__ if each.__name__ == "BaseNode"), None)
    return (
        base is not None and cls.__module__ == base.__module__ and cls.__name__ in _LIBRARY_CLASSES
    )


def _copies_plainly(cls: Any) -> bool:
    """Whether `copy.copy` would do no more than copy the instance's attributes."""
    return (
        cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and getattr(cls, "__getstate__", None) is getattr(object, "__getstate__", None)
        and not any(
            hasattr(cls, name)
            for name in ("__copy__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
        )
        and not any(vars(each).get("__slots__") for each in cls.__mro__)
    )


_METHODS = (
    "__new__",
    "_exec",
    "_orch",
    "_orch_async",
    "_run",
    "_run_async",
    "exec_fallback",
    "exec_fallback_async",
    "exec_stream",
    "exec_stream_async",
    "get_next_node",
    "item_label",
    "post_async",
    "prep_async",
    "set_params",
)
"""What a shape depends on: a class or an instance may get others of them at any time."""

_METHOD_SET = frozenset(_METHODS)
_TELLING = _METHOD_SET | _HANDLERS


class _Known:
    """The shape of a class, and the methods that it was read from."""

    __slots__ = ("cls", "methods", "methods_of", "shape")

    def __init__(self, cls: type) -> None:
        key = id(cls)
        self.cls: weakref.ref[type] = weakref.ref(cls, lambda _: _known.pop(key, None))
        self.shape: Shape = Shape(cls)
        present = [name for name in _METHODS if hasattr(cls, name)]
        self.methods_of: Callable[[type], Any] = attrgetter("__init__", *present)
        self.methods: Any = self.methods_of(cls)


_known: Final[dict[int, _Known]] = {}  # by the id of the class


def shape_of(node: Any) -> Shape:
    """Return a node's shape: that of its class, read once, unless it has methods of its own.

    Raises `GraphError` for a class, or a node, of which a run would do nothing.
    """
    cls = type(node)
    attributes = getattr(node, "__dict__", ())
    if not _TELLING.isdisjoint(attributes):
        own = [name for name in _METHODS if name in attributes]
        shape = Shape(cls, own)
        _refuse(node, shape)
        if own:
            return shape
    known = _known.get(id(cls))
    if known is None or known.methods_of(cls) != known.methods:
        known = _Known(cls)
        _refuse(node, known.shape)
        _known[id(cls)] = known
        if mistake := _mistake(cls, known.shape):
            method, text = mistake
            at = getattr(cls, method)
            warn(f"{cls.__qualname__} {text}", RuntimeWarning, at=at, always=True)
    return known.shape
