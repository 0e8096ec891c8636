"""Calls into a node's code, in the step's context, and the end of what was begun."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from flowevents.engine.effects import Await, CallbackFailed, Effects, Failed
from flowevents.engine.sequencer import Sequencer
from flowevents.engine.step import Step
from flowevents.errors import AsyncNodeError
from flowevents.events import Event, Status
from flowevents.signals import Handlers

__all__ = ["awaited", "call", "end", "invoke", "outcome", "require_await"]


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


def awaited(awaitable: Awaitable[Any]) -> Effects:
    """Have it awaited."""
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
    raised: BaseException | None = None
    try:
        sequencer.empty_inbox()
    except BaseException as of_a_handler:
        if error is None:  # this ends with it
            raise
        raised = of_a_handler
    if handlers is not None:
        status: Status = "ok"
        text: str | None = None
        if error is not None:
            try:
                status, text = outcome(sequencer, error)
            except BaseException as of_text:  # of `redact`, or of the error's own text
                status, raised = "cancelled", raised or of_text
        duration = 0.0 if step.began is None else sequencer.monotonic() - step.began
        step.open = False
        due = step.publish(
            handlers, kind, status=status, duration=max(0.0, duration), error=text, **own
        )
        if due:
            if error is None:
                yield from sequencer.flush()
            elif isinstance(error, GeneratorExit):
                sequencer.flush_plainly()
            elif sequencer.backlog:
                yield Await(sequencer.flush_handlers())
    step.open = False
    if raised is not None:
        raise raised


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
