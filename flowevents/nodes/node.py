"""The sync nodes: `prep`, `exec` and `post` as steps of the engine.

They behave as PocketFlow's (0.0.3 and what its repository has changed since). What runs them is
the engine; these classes only say what there is.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, cast, overload

from flowevents.engine.attempts import pause_after, retries_on
from flowevents.engine.publish import emit, in_opaque_step, progress
from flowevents.engine.shape import is_node, node_name, own_method, why_no_node
from flowevents.errors import GraphError
from flowevents.events import Event
from flowevents.messages import warn
from flowevents.nodes.attributes import ClassName, CurrentRetry, NoAsk, PauseRequested
from flowevents.nodes.coroutines import coroutine_function
from flowevents.run import Run, RunOptions
from flowevents.signals import Identity, on
from flowevents.stream import UNSET, AsyncStream, Stream, streamed

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Executor
    from typing import Self, Unpack

    from flowevents.workers.lane import Runner

__all__ = ["BaseNode", "BatchNode", "Node", "RetryOn", "Wait", "at_least_one"]

E = TypeVar("E", bound=Event)
R = TypeVar("R")
P = TypeVar("P", bound=Callable[..., Any])


def part_of_run(part: P) -> P:
    """Make a class's own part of PocketFlow's `_run` a run of its own, where it is called whole.

    It is not by an override, nor by a flow that itself is run through one.
    """

    @functools.wraps(part)
    def _run(node: Any, shared: Any) -> Any:
        if getattr(node._run, "__func__", None) is not _run or in_opaque_step(node):
            return part(node, shared)
        return Run(node, shared).wait()

    return cast("P", _run)


class BaseNode:
    """What every node and flow has.

    Attributes:
        params: What a flow hands down to its nodes.
        successors: The next nodes by action.
        node_name: Its name in events, by default the name of its class; set it on a class or on
            an instance. A path shows `/` and `#` in it as `∕` and `♯`.
        pause_requested: Whether `Run.pause` was called, and no node has asked since; a node may
            answer it by `yield Ask(…)`.
    """

    node_name: Any = ClassName()
    if TYPE_CHECKING:
        pause_requested: bool
    else:
        pause_requested = PauseRequested()
    _sender_key: Identity
    if not TYPE_CHECKING:
        ask = NoAsk()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Return the node the identity that its copies will share."""
        node = object.__new__(cls)
        node._sender_key = Identity()  # shared by its copies
        return node

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.successors: dict[str, Any] = {}

    # -- what users write ---------------------------------------------------------------------

    def prep(self, shared: Any, /) -> Any:
        """Take from `shared` what `exec` needs."""

    def exec(self, prep_res: Any, /) -> Any:
        """Do the work, without `shared`: it may be tried again."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any, /) -> Any:
        """Write to `shared`, and return the action: a string, or `None` for `"default"`."""

    # -- the graph ----------------------------------------------------------------------------

    def set_params(self, params: dict[str, Any]) -> None:
        """Set the params; in a flow, the flow does."""
        self.params = params

    def next(self, node: Any, action: str = "default") -> Any:
        """Go on to `node` after `action`; `None` ends there without a warning. Returns `node`.

        Raises `GraphError` (a `TypeError`) where it is no node.
        """
        if not is_node(self):
            raise GraphError(f"{self!r} cannot have a successor.{why_no_node(self)}")
        if node is not None and not is_node(node):
            raise GraphError(
                f"The successor of {node_name(self)!r} for action {action!r} is {node!r}, which "
                f"is not a node.{why_no_node(node)}"
            )
        if action in self.successors:
            warn(f"Overwriting successor for action '{action}'")
        self.successors[action] = node
        return node

    def __rshift__(self, other: Any) -> Any:
        return self.next(other)

    def __sub__(self, action: str) -> ConditionalTransition:
        if isinstance(action, str):
            return ConditionalTransition(self, action)
        raise TypeError(f"Action must be a string, not {action!r}")

    # -- events -------------------------------------------------------------------------------

    def emit(self, data: Any, kind: str = "output") -> None:
        """Publish `data` as a `Chunk` of the step or item that runs; where none does, nothing.

        May be called from any task or thread. It belongs to the step, item and attempt in whose
        context it was made; a bare thread's to the step alone. What comes after the end of that, or
        from nobody knows which run, is dropped with a warning.
        """
        emit(self, data, kind)

    def progress(self, done: float, total: float | None = None, label: str = "") -> None:
        """Publish a `Progress` of the step or item that runs; otherwise as `emit`."""
        progress(self, done, total, label)

    def on(self, event_type: type[E]) -> Callable[[Callable[[E], R]], Callable[[E], R]]:
        """Connect the decorated function to that type of event of this node, and its copies."""
        return on(event_type, sender=self)

    # -- running ------------------------------------------------------------------------------

    def run(self, shared: Any, **options: Unpack[RunOptions]) -> Any:
        """Run it to the end and return its last action; options as of `Run`."""
        __tracebackhide__ = True
        self._warn_successors("Flow")
        return Run(self, shared, **options).wait()

    @coroutine_function
    def run_async(self, shared: Any, **options: Unpack[RunOptions]) -> Coroutine[Any, Any, Any]:
        """`run` in an event loop, where async nodes can run too; to be awaited."""
        self._warn_successors("AsyncFlow")
        return Run(self, shared, **options).wait_async()

    @overload
    def run_stream(self, shared: Any, **options: Unpack[RunOptions]) -> Stream: ...
    @overload
    def run_stream(
        self,
        shared: Any,
        callback: Callable[[Any, str], object] | None,
        **options: Unpack[RunOptions],
    ) -> Any: ...
    def run_stream(
        self,
        shared: Any,
        callback: Callable[[Any, str], object] | None = UNSET,
        **options: Unpack[RunOptions],
    ) -> Any:
        """The data of the output chunks as they come: a `Stream`, whose return value is the action.

        With a `callback(chunk, node)`, even `None`, it runs to the end and gives the action. The
        node is given by its path; what the callback raises cancels the run and is raised.
        """
        __tracebackhide__ = True
        self._warn_successors("Flow")
        return streamed(self, shared, callback, options, is_async=False)

    @overload
    def run_stream_async(self, shared: Any, **options: Unpack[RunOptions]) -> AsyncStream: ...
    @overload
    def run_stream_async(
        self,
        shared: Any,
        callback: Callable[[Any, str], object] | None,
        **options: Unpack[RunOptions],
    ) -> Coroutine[Any, Any, Any]: ...
    def run_stream_async(
        self,
        shared: Any,
        callback: Callable[[Any, str], object] | None = UNSET,
        **options: Unpack[RunOptions],
    ) -> Any:
        """`run_stream` in an event loop: an `AsyncStream`, or an awaitable of the action."""
        self._warn_successors("AsyncFlow")
        return streamed(self, shared, callback, options, is_async=True)

    def _warn_successors(self, flow: str) -> None:
        if getattr(self, "successors", None):  # there are none where `__init__` was forgotten
            warn(f"Node won't run successors. Use {flow}.")

    # -- PocketFlow's private methods: called by overrides, and by its own flows --------------

    @part_of_run
    def _run(self, shared: Any) -> Any:
        prep_res = self.prep(shared)
        exec_res = self._exec(prep_res)
        return self.post(shared, prep_res, exec_res)

    def _exec(self, prep_res: Any) -> Any:
        return self.exec(prep_res)


class ConditionalTransition:
    """What `node - "action"` gives: `>>` connects the next node for that action."""

    def __init__(self, src: BaseNode, action: str) -> None:
        self.src = src
        self.action = action

    def __rshift__(self, tgt: Any) -> Any:
        return self.src.next(tgt, self.action)


Wait = float | Callable[[int, Exception], float]
"""Seconds before the next attempt; or what gives them for the attempt and its error."""

RetryOn = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]
"""The exceptions after which a node is tried again; or what says it of one."""


class Node(BaseNode):
    """A node whose `exec` is tried up to `max_retries` times.

    Attributes:
        max_retries: The most attempts: 1 is no retry.
        wait: Seconds before the next attempt, or a function `wait(attempt, error)` that gives
            them; `backoff` makes one.
        retry_on: After which exceptions it is tried again: types, or a function of the exception.
            After another one its `exec_fallback` follows at once.
        cur_retry: Which retry the code is in that asks, from 0; in a batch, of its item.
    """

    if TYPE_CHECKING:
        cur_retry: int
    else:
        cur_retry = CurrentRetry()

    retry_on: RetryOn = Exception

    def __init__(
        self, max_retries: int = 1, wait: Wait = 0, *, retry_on: RetryOn | None = None
    ) -> None:
        if not isinstance(max_retries, SupportsIndex):
            raise TypeError(_no_number(type(self), max_retries))
        if max_retries < 1:
            raise ValueError(f"max_retries must be at least 1, not {max_retries!r}: 1 is no retry.")
        if not callable(wait) and wait < 0:
            raise ValueError(f"wait must be non-negative, not {wait!r}; it is in seconds.")
        super().__init__()
        self.max_retries = max_retries
        self.wait = wait
        if retry_on is not None:
            self.retry_on = _checked(retry_on)

    def exec_fallback(self, prep_res: Any, exc: Exception, /) -> Any:
        """Return a result after the last attempt failed with `exc`, or raise, as this one does."""
        raise exc

    def _exec(self, prep_res: Any) -> Any:
        for retry in range(self.max_retries):
            self.cur_retry = retry
            try:
                return self._try(prep_res)
            except Exception as error:
                if retry == self.max_retries - 1 or not retries_on(self, error):
                    return self.exec_fallback(prep_res, error)
                pause = pause_after(self, retry + 1, error)
                if pause > 0:
                    time.sleep(pause)
        return None

    def _try(self, prep_res: Any) -> Any:
        return self.exec(prep_res)


def at_least_one(max_concurrency: int) -> int:
    """Check a limit of concurrent items."""
    if max_concurrency < 1:
        raise ValueError(
            f"max_concurrency must be at least 1, not {max_concurrency!r}; None is no limit."
        )
    return max_concurrency


def _checked(retry_on: RetryOn) -> RetryOn:
    kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    function = callable(retry_on) and not isinstance(retry_on, type)
    if not function and not all(
        isinstance(each, type) and issubclass(each, BaseException) for each in kinds
    ):
        raise TypeError(
            f"retry_on must be types of exceptions, or a function of one, not {retry_on!r}."
        )
    return retry_on


def _no_number(cls: Any, value: object) -> str:
    """What is said of `max_retries`."""
    if not is_node(value):
        return f"max_retries must be a whole number, not {value!r}."
    flow = "StreamFlow" if hasattr(cls, "keep_chunks") else "Flow"
    flow = "AsyncFlow" if hasattr(cls, "exec_async") else flow
    return (
        f"max_retries must be a whole number, not the node {node_name(value)!r}: a "
        f"{cls.__qualname__} holds no nodes. Did you mean {flow}({node_name(value)})?"
    )


class BatchNode(Node):
    """A node whose `prep` gives items, each of which `exec` gets; `post` gets the results.

    Args:
        executor: Where its items run, at the same time: an executor as PEP 3148 describes it, a
            `RayRunner`, or a function that makes one for each step. A worker gets a copy of the
            node and one item; by default the items run here, one after the other.
        max_lost: How often an item may be lost with its worker, before that is a `WorkerLost`.
        grace: Seconds after which a worker that was told to stop, and does not, is given up.

    Attributes:
        return_exceptions: Where an item fails the others go on, and `post` finds the exception at
            its place.
        max_concurrency: The most items that are with the executor at once, or `None`. Under it
            they are taken lazily, one as another ends.
    """

    return_exceptions: bool = False
    max_concurrency: int | None = None
    _flowevents_workers: Any = None
    _runs_together = False

    def __init__(
        self,
        max_retries: int = 1,
        wait: Wait = 0,
        *,
        retry_on: RetryOn | None = None,
        return_exceptions: bool = False,
        executor: Executor | Runner | Callable[[], Executor | Runner] | None = None,
        max_concurrency: int | None = None,
        max_lost: int = 3,
        grace: float = 5,
    ) -> None:
        super().__init__(max_retries, wait, retry_on=retry_on)
        if return_exceptions:
            self.return_exceptions = True
        if max_concurrency is not None:
            self.max_concurrency = at_least_one(max_concurrency)
            if executor is None and not self._runs_together:
                raise ValueError(
                    f"max_concurrency={max_concurrency!r} of a {type(self).__name__} needs an "
                    "executor=: without one its items run one after the other."
                )
        if executor is not None:
            from flowevents.workers.executor import workers_of  # here: few nodes need it

            if own_method(self, "_exec"):
                raise GraphError(
                    f"{type(self).__name__} has an _exec of its own, which runs all of its items: "
                    "it cannot have an executor=."
                )
            self._flowevents_workers = workers_of(executor, max_lost, grace)

    if TYPE_CHECKING:

        def prep(self, shared: Any, /) -> Iterable[Any] | None:
            """Return the items, or nothing."""
            ...

    def item_label(self, item: Any, /) -> str:
        """Return what events call this item; by default nothing."""
        return ""

    def _exec(self, prep_res: Any) -> Any:
        results: list[Any] = []
        for item in prep_res or []:
            try:
                results.append(super()._exec(item))
            except Exception as error:
                if not self.return_exceptions:
                    raise
                results.append(error)
        return results
