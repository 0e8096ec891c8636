"""One attempt of a streaming node: from what its generator yields to handlers and puller.

A generator that a node returned is closed on every path before anything else is published.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar

from flowevents.asking import Ask
from flowevents.engine.ask import ask
from flowevents.engine.calls import call
from flowevents.engine.drivers import give, perform
from flowevents.engine.effects import TAKE, Await, Effects
from flowevents.engine.sequencer import logger
from flowevents.engine.step import Step
from flowevents.errors import Expired
from flowevents.events import Chunk, Event
from flowevents.signals import Handlers

__all__ = ["Result", "one_chunk", "stream", "stream_async"]

T = TypeVar("T")


class Result(Generic[T]):
    """The `exec_res` of an async generator: what it yields last, and no chunk."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value: T = value

    def __repr__(self) -> str:
        return f"Result({self.value!r})"


def one_chunk(scope: Step, result: Effects) -> Effects:
    """Publish what the `exec` of a streaming node without a generator gives, and give it."""
    sequencer = scope.sequencer
    scope.locate()
    data = yield from result
    sequencer.empty_inbox()
    handlers = scope.listeners().chunk
    if handlers is not None:
        if scope.publish(handlers, Chunk, data=sequencer.clean(data)):
            yield from sequencer.flush()
    elif sequencer.consumer == "output":
        sequencer.outbox.append(sequencer.clean(data))
        yield TAKE
    return data


def stream(scope: Step, node: Any, argument: Any) -> Effects:
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
    source = call(scope, _iterator, scope, produced)
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
            while type(data) is Ask:
                resume = yield from answered(scope, data, source, "send", "throw")
                data = resume() if context is None else context.run(resume)
            if sequencer.version is not version:
                yield from sequencer.border()
                version = sequencer.version
                heard = scope.listeners().chunk
                calls = heard.calls if heard is not None else ()
                inline = heard is not None and not heard.asynchronous
                events, output = sequencer.consumer == "events", sequencer.consumer == "output"
                if sequencer.live:  # the puller is the last handler
                    calls, events = (*calls, sequencer.take), False
            if keep is not None:
                keep(data)
            if redact is not None and (heard is not None or output):
                data = sequencer.clean(data)
            if heard is not None:
                event = Chunk(
                    run_id, next(numbers), now(), span, path, items, execution, attempt, data=data
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


def answered(scope: Step, asked: Ask, source: object, send: str, throw: str) -> Effects:
    """Ask what `source` yielded, and give how it goes on: with the answer, or with `Expired`.

    Raises `TypeError`, before anything is asked, for what is no generator.
    """
    resume: Callable[[Any], Any] | None = getattr(source, send, None)
    fail: Callable[[Any], Any] | None = getattr(source, throw, None)
    if resume is None or fail is None:
        raise TypeError(
            f"Node {scope.plan.path!r} gave a question from {source!r}, which cannot take the "
            "answer: only a generator can, with `answer = yield Ask(…)`."
        )
    try:
        answer = yield from ask(scope, asked)
    except Expired as expired:
        return partial(fail, expired)
    return partial(resume, answer)


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


async def stream_async(scope: Step, node: Any, produced: Any) -> Any:
    """One attempt of what yields in an async run; as `stream`, with a last `Result`."""
    sequencer = scope.sequencer
    scope.locate()
    kept: list[Any] | None = [] if node.keep_chunks else None
    keep = None if kept is None else kept.append
    if not hasattr(produced, "__aiter__") and hasattr(produced, "__await__"):
        produced = await Await(produced, scope.context)
    source = _async_iterator(scope, produced)
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
    ended = False
    try:
        async for data in source:
            while type(data) is Ask:
                resume = await perform(answered(scope, data, source, "asend", "athrow"))
                try:
                    data = await resume()
                except StopAsyncIteration:
                    ended = True
                    break
            if ended:
                break
            if sequencer.version is not version:
                await perform(sequencer.border())
                version = sequencer.version
                heard = scope.listeners().chunk
                calls = heard.calls if heard is not None else ()
                inline = heard is not None and not heard.asynchronous
                events, output = sequencer.consumer == "events", sequencer.consumer == "output"
                if sequencer.live:  # the puller is the last handler
                    calls, events = (*calls, sequencer.take), False
            if result is not None:
                raise RuntimeError(
                    f"Node {path!r} yielded {data!r} after its Result: the Result is the last."
                )
            if type(data) is Result:
                result = data
                continue
            if keep is not None:
                keep(data)
            if redact is not None and (heard is not None or output):
                data = sequencer.clean(data)
            if heard is not None:
                event = Chunk(
                    run_id, next(numbers), now(), span, path, items, execution, attempt, data=data
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


def _iterator(scope: Step, produced: Any) -> Any:
    """What a plain iterable gives. Raises `TypeError`, which names the node, for anything else."""
    if hasattr(produced, "__iter__") or hasattr(produced, "__getitem__"):
        return iter(produced)
    close = getattr(produced, "close", None)
    if inspect.iscoroutine(produced) and close is not None:
        close()
    what = "exec_stream_async" if scope.plan.shape.is_async else "exec_stream"
    hint = "it is to yield what it streams"
    if isinstance(produced, Ask):
        hint = "it is to yield its question, `answer = yield Ask(…)`"
    elif inspect.isawaitable(produced) or hasattr(produced, "__aiter__"):
        hint = "an `async def` belongs to an AsyncStreamNode, as exec_stream_async"
    raise TypeError(
        f"{what} of node {scope.plan.path!r} gave {produced!r}, over which nothing can iterate: "
        f"{hint}."
    )


def _async_iterator(scope: Step, produced: Any) -> Any:
    """What `async for` takes, whatever iterable the node gave."""
    if not hasattr(produced, "__aiter__"):
        return _Plain(_iterator(scope, produced))
    return produced if scope.context is None else _InContext(produced, scope.context)


class _Plain:
    """What a plain iterable yields, as an async iterator."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __aiter__(self) -> _Plain:
        return self

    async def __anext__(self) -> Any:
        return _drawn(self._source.__next__)

    @property
    def asend(self) -> Callable[[Any], Awaitable[Any]]:
        """Go on with an answer; there is none where the iterable cannot take it."""
        return partial(_drawn_async, self._source.send)

    @property
    def athrow(self) -> Callable[[Any], Awaitable[Any]]:
        """Go on with an error."""
        return partial(_drawn_async, self._source.throw)

    async def aclose(self) -> None:
        close: Any = getattr(self._source, "close", None)
        if close is not None:
            close()


def _drawn(advance: Callable[..., Any], *args: Any) -> Any:
    try:
        return advance(*args)
    except StopIteration:
        raise StopAsyncIteration from None


async def _drawn_async(advance: Callable[..., Any], *args: Any) -> Any:
    return _drawn(advance, *args)


class _InContext:
    """An async iterator each of whose steps runs in a context."""

    def __init__(self, source: Any, context: Context) -> None:
        self._source = context.run(source.__aiter__)
        self._context = context

    def __aiter__(self) -> _InContext:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._step(self._source.__anext__)

    @property
    def asend(self) -> Callable[[Any], Awaitable[Any]]:
        """Go on with an answer; there is none where the iterator cannot take it."""
        return partial(self._step, self._source.asend)

    @property
    def athrow(self) -> Callable[[Any], Awaitable[Any]]:
        """Go on with an error."""
        return partial(self._step, self._source.athrow)

    def _step(self, advance: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return Await(self._context.run(advance, *args), self._context)

    async def aclose(self) -> None:
        close: Any = getattr(self._source, "aclose", None)
        if close is not None:
            await close()
