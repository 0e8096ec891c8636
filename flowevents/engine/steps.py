"""One step: what the engine does between a node's `prep` and its `post`.

The rules of this file:

* `execute` gives `exec_res`: of one attempt after the other, for each item of a batch.
* A failed attempt that is not the last is a `Retry`, which voids its chunks; an own
  `exec_fallback` is an attempt too. Cancellation and what fails the run are no `Exception`, so
  that no retry and no `except Exception` of a node can swallow them.
* A generator that a node returned is closed on every path before anything else is published.
* Calls into a node's code go through `step.context` where an observer gave one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar

from flowevents.engine.drivers import Group, give, perform
from flowevents.engine.sequencer import (
    TAKE,
    Await,
    CallbackFailed,
    Effects,
    Failed,
    Sequencer,
    Step,
    Track,
    current_track,
    logger,
)
from flowevents.errors import AsyncNodeError
from flowevents.events import Chunk, Event, ItemEnd, ItemStart, Retry, Status
from flowevents.signals import Handlers

__all__ = [
    "Result",
    "attempts",
    "end",
    "end_item",
    "execute",
    "invoke",
    "length_of",
    "outcome",
    "require_await",
    "start_item",
]

T = TypeVar("T")


class Result(Generic[T]):
    """The `exec_res` of an async generator: what it yields last, and no chunk."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Result({self.value!r})"


# -- calls into a node's code -----------------------------------------------------------------


def call(step: Step, method: Callable[..., Any], *args: Any) -> Any:
    """Call plain code of the step's node."""
    sequencer = step.sequencer
    sequencer.plain = True
    try:
        return method(*args) if step.context is None else step.context.run(method, *args)
    finally:
        sequencer.plain_ended()


def invoke(step: Step, method: Callable[..., Any], *args: Any) -> Effects:
    """Call a method of the step's node, and await what it gives if the node is async."""
    result = call(step, method, *args)
    if step.plan.shape.is_async:
        result = yield Await(result, step.context)
    return result


def _awaited(awaitable: Awaitable[Any]) -> Effects:
    return (yield Await(awaitable))


def require_await(step: Step) -> None:
    """Raise `AsyncNodeError` for an async node in a sync run."""
    if step.plan.shape.is_async and step.sequencer.loop is None:
        what = "flow" if step.plan.shape.is_flow else "node"
        raise AsyncNodeError(
            f"Async {what} {step.plan.path or step.plan.name!r} "
            f"({type(step.plan.node).__name__}) was reached in a sync run. "
            "Use run_async, run_stream_async, wait_async or `async for`."
        )


# -- attempts ---------------------------------------------------------------------------------


def execute(track: Track, step: Step, node: Any, prep_res: Any) -> Effects:
    """Give the step's `exec_res`."""
    batch = step.plan.shape.batch
    if batch is None:
        return attempts(track, step, node, prep_res)
    if prep_res is None and not step.plan.shape.ours:
        # pocketflow 0.0.3 refuses it in its async batches, newer ones do not: let it decide.
        return invoke(step, node._exec, None)
    if batch == "parallel":
        return _parallel_batch(step, node, prep_res)
    return _batch(track, step, node, prep_res)


def attempts(
    track: Track, scope: Step, node: Any, argument: Any, error: Exception | None = None
) -> Effects:
    """Try until it works: `error` is what a first attempt, made inline, raised."""
    sequencer = scope.sequencer
    shape = scope.plan.shape
    tries = node.max_retries if shape.retries else 1
    if tries < 1 and error is None:  # pocketflow 0.0.3 then runs nothing
        return None
    counts = not shape.ours  # pocketflow's nodes hold the number of the retry themselves
    if counts:
        node.cur_retry = 0
    for tried in range(1, max(tries, 1) + 1):
        if error is None:
            try:
                return (yield from _attempt(scope, node, argument))
            except Exception as failed:
                error = failed
        stopping = sequencer.stopping()
        if stopping is not None:
            logger.error(
                "Node %r raised while run %s was cancelled",
                scope.plan.path,
                sequencer.run_id,
                exc_info=error,
            )
            raise stopping
        if tried >= tries:
            break
        yield from _retry(scope, error, float(node.wait), False)
        if node.wait > 0:
            if sequencer.loop is None:
                sequencer.sleep(node.wait)
            else:
                yield Await(sequencer.clock.sleep_async(node.wait))
        if sequencer.cancelled is not None:
            raise sequencer.cancelled
        if counts:
            node.cur_retry = tried
        error = None
    assert error is not None
    if not shape.fallback:
        raise error
    yield from _retry(scope, error, 0.0, True)
    fallback = node.exec_fallback_async if shape.is_async else node.exec_fallback
    return (yield from invoke(scope, fallback, argument, error))


def _retry(scope: Step, error: Exception, wait: float, fallback: bool) -> Effects:
    """Publish that this attempt failed; from here on the scope is in the next."""
    sequencer = scope.sequencer
    handlers = scope.listeners().retry
    scope.locate()
    attempt = scope.attempt
    scope.attempt += 1
    if handlers is None:
        return
    event = Retry(
        run_id=sequencer.run_id,
        seq=next(sequencer.numbers),
        time=sequencer.now(),
        span=scope.span,
        node=scope.plan.path,
        items=scope.items,
        step=scope.number,
        attempt=attempt,
        error=sequencer.error_text(error),
        wait=wait,
        fallback=fallback,
    )
    if sequencer.deliver(event, handlers):
        yield from sequencer.flush()


def _attempt(scope: Step, node: Any, argument: Any) -> Effects:
    shape = scope.plan.shape
    if shape.streams:
        if shape.is_async:
            return _awaited(_stream_async(scope, node, argument))
        return _stream(scope, node, argument)
    if not shape.is_async:
        result = invoke(scope, node.exec, argument)
    elif scope.sequencer.puller is None:
        result = invoke(scope, node.exec_async, argument)
    else:
        result = _in_own_task(scope, node.exec_async, argument)
    return _one_chunk(scope, result) if shape.chunked else result


def _in_own_task(scope: Step, method: Callable[..., Any], argument: Any) -> Effects:
    """Await code of a pulled run in a task of its own, so that the puller gets its events live.

    In the puller's task a timeout that the code has set would hit the puller.
    """

    async def item(group: Group) -> Any:
        return await group.drive(invoke(scope, method, argument))

    results = yield Await(Group(scope.sequencer).run(iter((item,)), 1))
    return results[0]


# -- streams ----------------------------------------------------------------------------------


def _one_chunk(scope: Step, result: Effects) -> Effects:
    """Publish what the `exec` of a streaming node without a generator gives, and give it."""
    sequencer = scope.sequencer
    scope.locate()
    data = yield from result
    handlers = scope.listeners().chunk
    if handlers is not None:
        if scope.publish(handlers, Chunk, data=sequencer.clean(data)):
            yield from sequencer.flush()
    elif sequencer.puller == "output":
        sequencer.outbox.append(sequencer.clean(data))
        yield TAKE
    return data


def _stream(scope: Step, node: Any, argument: Any) -> Effects:
    """One attempt of `exec_stream`: each yielded object is a chunk.

    This is the way of a chunk: drawn from the node's generator, made an event where somebody
    hears it, given to the handlers, then to the puller. Handlers are looked up again where the
    sequencer's `version` changed, which is also how a cancel is seen.
    """
    sequencer = scope.sequencer
    scope.locate()
    produced = call(scope, node.exec_stream, argument)
    kept: list[Any] | None = [] if node.keep_chunks else None
    keep = None if kept is None else kept.append
    source = call(scope, iter, produced)
    asynchronous = sequencer.loop is not None  # what it yields might be taken for the loop's
    run_id, now, numbers, outbox = (
        sequencer.run_id,
        sequencer.now,
        sequencer.numbers,
        sequencer.outbox,
    )
    path, span, items, execution = scope.plan.path, scope.span, scope.items, scope.number
    attempt, redact, context = scope.attempt, sequencer.redact, scope.context
    version: object = None
    heard: Handlers | None = None
    calls: tuple[Callable[[Event], object], ...] = ()
    inline = events = output = False
    first: Any = None  # what is no Exception and came from a handler
    try:
        while True:
            data = next(source) if context is None else context.run(next, source)
            if sequencer.version is not version:
                yield from sequencer.border()
                version = sequencer.version
                heard = scope.listeners().chunk
                calls = heard.calls if heard is not None else ()
                inline = heard is not None and not heard.asynchronous
                events, output = sequencer.puller == "events", sequencer.puller == "output"
            if keep is not None:
                keep(data)
            if redact is not None:
                data = sequencer.clean(data)
            if heard is not None:
                event = Chunk(
                    run_id=run_id,
                    seq=next(numbers),
                    time=now(),
                    span=span,
                    node=path,
                    items=items,
                    step=execution,
                    attempt=attempt,
                    data=data,
                )
                if not inline or outbox or sequencer.backlog:
                    if sequencer.deliver(event, heard):
                        yield from sequencer.flush()
                    continue
                if calls:
                    sequencer.delivering = True
                    for handler in calls:
                        try:
                            handler(event)
                        except Exception as error:
                            sequencer.handler_failed(handler, event, error)
                        except BaseException as error:
                            first = first or error
                    sequencer.delivering = False
                    if first is not None:
                        raise first
                if events:
                    yield event
                elif output:
                    outbox.append(data)
                    yield TAKE
                if sequencer.backlog and sequencer.drain():
                    yield from sequencer.flush()
                if sequencer.version is not version:
                    yield from sequencer.border()
            elif output:
                if outbox or asynchronous:
                    outbox.append(data)
                    yield TAKE
                else:
                    yield data
    except StopIteration as end:
        result = end.value
        source = None
    finally:
        if source is not None:
            _close(scope, source, produced)
    if sequencer.inbox:
        yield from sequencer.border()
    return result if result is not None or kept is None else kept


def _close(scope: Step, *sources: object) -> None:
    """Close what a streaming node gave; what that raises does not replace what is under way."""
    for source in sources:
        close = getattr(source, "close", None)
        if callable(close):
            try:
                call(scope, close)
            except Exception as error:
                _log_close(scope, error)


def _log_close(scope: Step, error: Exception) -> None:
    logger.error(
        "Node %r raised while its generator was closed in run %s",
        scope.plan.path,
        scope.sequencer.run_id,
        exc_info=error,
    )


async def _stream_async(scope: Step, node: Any, argument: Any) -> Any:
    """One attempt of `exec_stream_async`; as `_stream`, with a last `Result` for `exec_res`."""
    sequencer = scope.sequencer
    scope.locate()
    produced = call(scope, node.exec_stream_async, argument)
    kept: list[Any] | None = [] if node.keep_chunks else None
    keep = None if kept is None else kept.append
    source = _async_iterator(produced, scope.context)
    run_id, now, numbers, outbox = (
        sequencer.run_id,
        sequencer.now,
        sequencer.numbers,
        sequencer.outbox,
    )
    path, span, items, execution = scope.plan.path, scope.span, scope.items, scope.number
    attempt, redact = scope.attempt, sequencer.redact
    version: object = None
    heard: Handlers | None = None
    calls: tuple[Callable[[Event], object], ...] = ()
    inline = events = output = False
    first: Any = None  # what is no Exception and came from a handler
    result: Result[Any] | None = None
    try:
        async for data in source:
            if sequencer.version is not version:
                await perform(sequencer.border())
                version = sequencer.version
                heard = scope.listeners().chunk
                calls = heard.calls if heard is not None else ()
                inline = heard is not None and not heard.asynchronous
                events, output = sequencer.puller == "events", sequencer.puller == "output"
            if result is not None:
                raise RuntimeError(
                    f"Node {path!r} yielded {data!r} after its Result: the Result is the last."
                )
            if type(data) is Result:
                result = data
                continue
            if keep is not None:
                keep(data)
            if redact is not None:
                data = sequencer.clean(data)
            if heard is not None:
                event = Chunk(
                    run_id=run_id,
                    seq=next(numbers),
                    time=now(),
                    span=span,
                    node=path,
                    items=items,
                    step=execution,
                    attempt=attempt,
                    data=data,
                )
                if not inline or outbox or sequencer.backlog:
                    if sequencer.deliver(event, heard):
                        await perform(sequencer.flush())
                    continue
                if calls:
                    sequencer.delivering = True
                    for handler in calls:
                        try:
                            handler(event)
                        except Exception as error:
                            sequencer.handler_failed(handler, event, error)
                        except BaseException as error:
                            first = first or error
                    sequencer.delivering = False
                    if first is not None:
                        raise first
                if events:
                    await give(event)
                elif output:
                    outbox.append(data)
                    await give(TAKE)
                if sequencer.backlog and sequencer.drain():
                    await perform(sequencer.flush())
                if sequencer.version is not version:
                    await perform(sequencer.border())
            elif output:
                outbox.append(data)
                await give(TAKE)
    except GeneratorExit:  # nothing can be awaited any more; the loop's hooks close the source
        raise
    except BaseException:
        await _close_async(scope, source)
        raise
    if sequencer.version is not version:
        await perform(sequencer.border())
    return kept if result is None else result.value


async def _close_async(scope: Step, source: Any) -> None:
    close = getattr(source, "aclose", None)
    if callable(close):
        try:
            await Await(call(scope, close), scope.context)
        except Exception as error:
            _log_close(scope, error)


def _async_iterator(produced: Any, context: Context | None) -> Any:
    """What `async for` takes, whatever iterable the node gave."""
    if not hasattr(produced, "__aiter__"):
        return _from_iterable(produced)
    return produced if context is None else _InContext(produced, context)


async def _from_iterable(produced: Any) -> AsyncIterator[Any]:
    if hasattr(produced, "__await__"):
        produced = await produced
    if hasattr(produced, "__aiter__"):
        async for data in produced:
            yield data
    else:
        for data in produced:
            yield data


class _InContext:
    """An async iterator each of whose steps runs in a context."""

    def __init__(self, source: Any, context: Context) -> None:
        self._source = context.run(source.__aiter__)
        self._context = context

    def __aiter__(self) -> _InContext:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return Await(self._context.run(self._source.__anext__), self._context)

    async def aclose(self) -> None:
        close = getattr(self._source, "aclose", None)
        if callable(close):
            await close()


# -- batches ----------------------------------------------------------------------------------


def length_of(items: object) -> int | None:
    """How many items a batch has, where it knows."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None


def drawn(step: Step, items: Any) -> Iterable[Any]:
    """The items of a batch, none where `prep` gave something empty, drawn in the step's context."""
    if items is None:
        return ()
    try:
        source = call(step, iter, items)
    except TypeError:
        if not items:
            return ()
        raise
    return source if step.context is None else _drawn_in(step.context, source)


def _drawn_in(context: Context, source: Iterator[Any]) -> Iterator[Any]:
    end = object()
    while (item := context.run(next, source, end)) is not end:
        yield item


def start_item(scope: Step) -> Effects:
    """Publish the start of an item, which has its number already."""
    listeners = scope.listeners()
    if scope.start(listeners.item_start, ItemStart, total=scope.total):
        yield from scope.sequencer.flush()
    if listeners.contexts:
        scope.ask_context(ItemStart, total=scope.total)


def end_item(scope: Step, error: BaseException | None = None) -> Effects:
    """Publish the end of an item."""
    parent = scope.of
    if parent is None or not scope.open:
        return
    scope.locate()
    parent.done += 1
    own = {"done": parent.done, "total": scope.total}
    yield from end(scope, ItemEnd, scope.listeners().item_end, error, own)


def _batch(track: Track, step: Step, node: Any, arguments: Iterable[Any] | None) -> Effects:
    """The items of a sequential batch, drawn one by one."""
    sequencer = step.sequencer
    shape = step.plan.shape
    inline = shape.ours and shape.retries and not (shape.is_async or shape.chunked)
    run, numbers = node.exec, sequencer.numbers
    scope = step.item = Step(sequencer, step.plan, 0, step.span, (), step.number)
    scope.of, scope.total, scope.context = step, length_of(arguments), step.context
    span = index = 0
    scope.where = lambda: (span, (*step.items, index))
    scope.open = False
    results: list[Any] = []
    version: object = None
    anybody = False
    for index, argument in enumerate(drawn(step, arguments)):
        if sequencer.version is not version:
            yield from sequencer.border()
            version = sequencer.version
            anybody = scope.listeners().anybody
            scope.open = not anybody  # where nobody hears of items, the batch is one open item
        span = next(numbers)
        if scope.attempt > 1:
            scope.attempt = 1
        if anybody:
            scope.open = True
            scope.locate()
            yield from start_item(scope)
        if inline and scope.context is None:
            sequencer.plain = True
            try:
                result = run(argument)
                sequencer.plain = False
                if sequencer.guests:
                    sequencer.await_guests()
            except Exception as error:
                sequencer.plain_ended()
                result = yield from attempts(track, scope, node, argument, error)
        else:
            result = yield from attempts(track, scope, node, argument)
        results.append(result)
        if anybody or sequencer.version is not version:
            step.done = index
            yield from end_item(scope)
            scope.open = not anybody
    step.item = None
    step.item_attempt = scope.attempt
    return results


def _parallel_batch(step: Step, node: Any, arguments: Iterable[Any] | None) -> Effects:
    """The items of a parallel batch, each in a task of its own."""
    total = length_of(arguments)
    limit = node.max_concurrency if step.plan.shape.ours else None
    items = (
        partial(_parallel_item, step, index, total, node, argument)
        for index, argument in enumerate(drawn(step, arguments))
    )
    return _awaited(Group(step.sequencer).run(items, limit))


async def _parallel_item(
    step: Step, index: int, total: int | None, node: Any, argument: Any, group: Group
) -> Any:
    sequencer, shape = step.sequencer, step.plan.shape
    span = next(sequencer.numbers)
    scope = Step(sequencer, step.plan, span, step.span, (*step.items, index), step.number)
    scope.of, scope.total, scope.context = step, total, step.context
    track = Track(scope)
    current_track.set(track)
    if scope.listeners().anybody or shape.chunked or not shape.ours:
        return await group.drive(_heard_item(track, scope, node, argument))
    try:  # its first attempt inline: what _heard_item does, but faster
        result = await node.exec_async(argument)
    except Exception as error:
        result = await group.drive(_heard_item(track, scope, node, argument, error))
    except BaseException as error:
        await group.drive(end_item(scope, error))
        raise
    if scope.listeners().item_end is None:
        scope.open = False
        step.done += 1
    else:
        await group.drive(end_item(scope))
    return result


def _heard_item(
    track: Track, scope: Step, node: Any, argument: Any, error: Exception | None = None
) -> Effects:
    try:
        if error is None:
            yield from start_item(scope)
        result = yield from attempts(track, scope, node, argument, error)
        yield from end_item(scope)
    except BaseException as failed:
        yield from end_item(scope, failed)
        raise
    return result


# -- ends -------------------------------------------------------------------------------------


def end(
    step: Step,
    kind: type[Event],
    handlers: Handlers | None,
    error: BaseException | None,
    own: dict[str, Any],
) -> Effects:
    """Publish the end of an open step.

    An end that is ok goes to the puller before the engine goes on; one that is not waits in the
    outbox, so that the way out of a failed or cancelled run never stops at a puller.
    """
    sequencer = step.sequencer
    if not step.open:
        return
    if handlers is not None:
        status: Status = "ok"
        text: str | None = None
        if error is not None:
            status, text = outcome(sequencer, error)
        duration = 0.0 if step.began is None else sequencer.monotonic() - step.began
        step.open = False
        due = step.publish(
            handlers, kind, status=status, duration=max(0.0, duration), error=text, **own
        )
        if due:
            if error is None:
                yield from sequencer.flush()
            elif sequencer.backlog and not isinstance(error, GeneratorExit):
                yield Await(sequencer.flush_handlers())
    step.open = False


def outcome(sequencer: Sequencer, error: BaseException) -> tuple[Status, str | None]:
    """The status and the error text of what an exception ends."""
    if isinstance(error, Failed):
        error = error.error
    if isinstance(error, Exception):
        return "error", sequencer.error_text(error)
    if isinstance(error, CallbackFailed):
        return "cancelled", sequencer.error_text(error.error)
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled", None
    return "cancelled", sequencer.error_text(error)
