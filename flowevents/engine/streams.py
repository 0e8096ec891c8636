"""One attempt of a streaming node: from what its generator yields to handlers and consumer.

What a node returned to be streamed is closed on every path, before anything else is published: its
iterator first.
"""

from __future__ import annotations

import inspect
import logging
import types
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Any, Final

from flowevents.asking import Ask, Result
from flowevents.engine.ask import ask
from flowevents.engine.calls import call
from flowevents.engine.chunks import HAND_OVER, Send, gives_plain_output, sender
from flowevents.engine.effects import TAKE, Await, Effects, pep479, perform, to_driver
from flowevents.engine.state import hand_over, safe_point
from flowevents.engine.step import Step
from flowevents.errors import Expired
from flowevents.events import Event

__all__ = ["one_chunk", "stream", "stream_async"]

logger: Final = logging.getLogger("flowevents")


def one_chunk(step: Step, result: Effects) -> Effects:
    """Publish what the `exec` of a streaming node without a generator returns, and return it."""
    data = yield from result
    step.state.door.empty()
    send = sender(step)
    if send is not None:
        yield from _hand_on(step, send(data))
    elif gives_plain_output(step.state):
        step.state.delivery.outbox.append(data)
        yield TAKE
    return data


def _hand_on(step: Step, out: object) -> Effects:
    """Yield what `Send` returned for the consumer."""
    if out is HAND_OVER:
        yield from hand_over(step.state)
    elif out is not None:
        yield out


def stream(step: Step, node: Any, argument: Any) -> Effects:
    """One attempt of `exec_stream`: each yielded object is a chunk.

    This is the way of a chunk: taken from the node's generator, made an event where somebody
    hears it, handed to the handlers, then to the consumer (`chunks.py`). How it is sent is looked
    up again where the audience's `version` changed, which is also how a cancel is seen.
    """
    state, audience = step.state, step.state.audience
    outbox = state.delivery.outbox
    produced = call(step, node.exec_stream, argument)
    kept: list[Any] | None = [] if node.keep_chunks else None
    keep = None if kept is None else kept.append
    source = call(step, _iterator, step, produced)
    context = step.context
    version: object = None
    send: Send | None = None
    plain_output = False
    out: object = None  # for the consumer, and what that was given last
    given: object = None
    try:
        while True:
            data = next(source) if context is None else context.run(next, source)
            while type(data) is Ask:
                resume = yield from answered(step, data, source, "send", "throw")
                data = resume() if context is None else context.run(resume)
            if audience.version is not version:
                if state.is_disturbed():
                    yield from safe_point(state)
                version = audience.version
                send, plain_output = sender(step), gives_plain_output(state)
            if keep is not None:
                keep(data)
            if send is not None:
                out = send(data)
                if out is not None:
                    if out is HAND_OVER:
                        yield from hand_over(state)
                    else:
                        yield (given := out)
                if audience.version is not version:
                    yield from safe_point(state)
            elif plain_output:
                if outbox:
                    outbox.append(data)
                    yield TAKE
                else:
                    yield data
    except StopIteration as end:
        result = end.value
        source = None
    except BaseException:
        if out is not given and isinstance(out, Event):
            outbox.append(out)
        raise
    finally:
        if source is not None:
            _close(step, source, *_what_gave(source, produced))
    if state.door.inbox:
        yield from safe_point(state)
    return result if result is not None or kept is None else kept


def answered(step: Step, asked: Ask, source: object, send: str, throw: str) -> Effects:
    """Ask what `source` yielded, and return how it goes on: with the answer, or with `Expired`.

    Raises `TypeError`, before anything is asked, for what is no generator.
    """
    resume: Callable[[Any], Any] | None = getattr(source, send, None)
    fail: Callable[[Any], Any] | None = getattr(source, throw, None)
    if resume is None or fail is None:
        raise TypeError(
            f"Node {step.plan.path!r} gave a question from {source!r}, which cannot take the "
            "answer: only a generator can, with `answer = yield Ask(…)`."
        )
    try:
        answer = yield from ask(step, asked)
    except Expired as expired:
        return partial(fail, expired)
    return partial(resume, answer)


def _close(step: Step, *sources: object) -> None:
    """Close what a streaming node gave; what that raises does not replace what is under way."""
    for source in sources:
        close = getattr(source, "close", None)
        if callable(close):
            try:
                call(step, close)
            except Exception as error:
                _log_close(step, error)


def _what_gave(source: object, produced: object) -> tuple[object, ...]:
    """Return what gave the iterator, and is to be closed after it; none where it is the same."""
    return () if source is produced else (produced,)


def _log_close(step: Step, error: Exception) -> None:
    logger.error(
        "Node %r raised while its generator was closed in run %s",
        step.plan.path,
        step.state.options.run_id,
        exc_info=error,
    )


async def stream_async(step: Step, node: Any, produced: Any) -> Any:
    """One attempt of what yields in an async run; as `stream`, with a last `Result`."""
    state, audience = step.state, step.state.audience
    kept: list[Any] | None = [] if node.keep_chunks else None
    keep = None if kept is None else kept.append
    if not hasattr(produced, "__aiter__") and hasattr(produced, "__await__"):
        produced = await Await(produced, step.context)
    is_plain = not hasattr(produced, "__aiter__")
    given = call(step, _iterator if is_plain else _async_iterator, step, produced)
    source = _Plain(given) if is_plain else given
    if step.context is not None:
        source = _InContext(source, step.context)
    items = source if type(source) is types.AsyncGeneratorType else _Given(source)
    version: object = None
    send: Send | None = None
    result: Result[Any] | None = None
    ended = False
    try:
        async for data in items:
            while type(data) is Ask:
                resume = await perform(answered(step, data, source, "asend", "athrow"))
                try:
                    data = await resume()
                except StopAsyncIteration:
                    ended = True
                    break
            if ended:
                break
            if audience.version is not version:
                if state.is_disturbed():
                    await perform(safe_point(state))
                version = audience.version
                send = sender(step)
            if type(data) is Result:
                result = data
                async for late in items:
                    raise RuntimeError(
                        f"Node {step.plan.path!r} yielded {late!r} after its Result: the Result is "
                        "the last."
                    )
                break
            if keep is not None:
                keep(data)
            if send is not None:
                out = send(data)
                if out is not None:
                    if out is HAND_OVER:
                        await perform(hand_over(state))
                    else:
                        await to_driver(out)
                if audience.version is not version:
                    await perform(safe_point(state))
    except GeneratorExit:  # nothing can be awaited any more; the loop's hooks close the source
        raise
    except BaseException:
        await _close_async(step, given, *_what_gave(given, produced))
        raise
    if audience.version is not version:
        await perform(safe_point(state))
    return kept if result is None else result.value


async def _close_async(step: Step, source: object, *others: object) -> None:
    """Close what an async node gave, one after the other, whatever happens to one of them."""
    close = getattr(source, "aclose", None) or getattr(source, "close", None)
    try:
        closing = call(step, close) if callable(close) else None
        if inspect.isawaitable(closing):
            await Await(closing, step.context)
    except Exception as error:
        _log_close(step, error)
    finally:
        if others:
            await _close_async(step, *others)


def _iterator(step: Step, produced: Any) -> Any:
    """What a plain iterable gives. Raises `TypeError`, which names the node, for anything else."""
    if hasattr(produced, "__iter__") or hasattr(produced, "__getitem__"):
        return iter(produced)
    close = getattr(produced, "close", None)
    if inspect.iscoroutine(produced) and close is not None:
        close()
    what = "exec_stream_async" if step.plan.shape.is_async else "exec_stream"
    hint = "it is to yield what it streams"
    if isinstance(produced, Ask):
        hint = "it is to yield its question, `answer = yield Ask(…)`"
    elif inspect.isawaitable(produced) or hasattr(produced, "__aiter__"):
        hint = "an `async def` belongs to an AsyncStreamNode, as exec_stream_async"
    raise TypeError(
        f"{what} of node {step.plan.path!r} gave {produced!r}, over which nothing can iterate: "
        f"{hint}."
    )


def _async_iterator(step: Step, produced: Any) -> Any:
    """What an async iterable gives."""
    return produced.__aiter__()


class _Given:
    """What `async for` takes, of an iterator that is there already and is closed by who has it."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __aiter__(self) -> Any:
        return self._source


class _Plain:
    """What a plain iterable yields, as an async iterator."""

    def __init__(self, source: Any) -> None:
        self._source = source

    async def __anext__(self) -> Any:
        return _advanced(self._source.__next__)

    @property
    def asend(self) -> Callable[[Any], Awaitable[Any]]:
        """Go on with an answer; there is none where the iterable cannot take it."""
        return partial(_advanced_async, self._source.send)

    @property
    def athrow(self) -> Callable[[Any], Awaitable[Any]]:
        """Go on with an error."""
        return partial(_advanced_async, self._source.throw)


def _advanced(advance: Callable[..., Any], *args: Any) -> Any:
    try:
        return advance(*args)
    except StopIteration:
        raise StopAsyncIteration from None
    except StopAsyncIteration as error:  # it is no end
        raise pep479(error) from error


async def _advanced_async(advance: Callable[..., Any], *args: Any) -> Any:
    return _advanced(advance, *args)


class _InContext:
    """An async iterator each of whose steps runs in a context."""

    def __init__(self, source: Any, context: Context) -> None:
        self._source = source
        self._context = context

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
