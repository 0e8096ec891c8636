"""Async handlers: what waits in the backlog is awaited by a task of its own, one way for all.

The rules of this file:

* One task at a time delivers the backlog, and the code of nodes goes on beside it. Who has to wait
  for it (a chunk, a question, the run's end) waits for that task.
* A cancel of who waits does not cancel a handler. Only where the run's own task is cancelled, the
  handler of a chunk that is being awaited is too: it may hang for what the cancel is about.
* What a journal over a network is to store first is stored by that task, in a thread.
* What a handler raises that is no `Exception` fails the run at its next safe point.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

from flowevents.engine.delivery import Delivery
from flowevents.engine.here import current_here
from flowevents.engine.tasks import start
from flowevents.events import Chunk, Event, Progress
from flowevents.signals import Handlers

if TYPE_CHECKING:
    from flowevents.engine.recorder import Recorder

__all__ = ["cut_short", "flush_beside", "flushed", "store_now"]


def flush_beside(delivery: Delivery) -> None:
    """Have the backlog delivered, from the loop, while the engine waits for something else."""
    if delivery.backlog and delivery.flushing is None and not delivery.delivering:
        assert delivery.door.loop is not None
        start(_flush(delivery), delivery.door.loop, delivery.flush_by)


async def flushed(delivery: Delivery) -> None:
    """Wait until what is in the backlog now is delivered, whatever comes meanwhile."""
    last = delivery.backlog[-1][0].seq if delivery.backlog else 0
    while delivery.backlog and delivery.backlog[0][0].seq <= last:
        flush_beside(delivery)
        if delivery.flushing is not None:
            await asyncio.wait([delivery.flushing])


def cut_short(delivery: Delivery) -> None:
    """Cancel the handler that is being awaited: the task that drives the run is cancelled.

    Only one of a chunk or a progress: starts, ends, questions and answers reach all their handlers,
    whatever is cancelled how often.
    """
    if delivery.flushing is not None and type(delivery.backlog[0][0]) in (Chunk, Progress):
        delivery.flushing.cancel()


async def _flush(delivery: Delivery) -> None:
    """Deliver what is in the backlog now; then whoever waits for that has a turn."""
    backlog, recorder = delivery.backlog, delivery.options.recorder
    current_here.set(None)  # of the task's own context: the handlers speak for no item
    last = backlog[-1][0].seq
    try:
        while backlog and backlog[0][0].seq <= last:
            if recorder is not None and not recorder.is_stored(backlog[0][0]):
                await _store(delivery, recorder)
                continue
            try:
                await _deliver(delivery, *backlog[0])
            finally:
                if backlog:
                    backlog.popleft()
    finally:
        delivery.flush_by(None)
        loop = delivery.door.loop
        if backlog and loop is not None and not loop.is_closed():
            loop.call_soon(flush_beside, delivery)


async def _store(delivery: Delivery, recorder: Recorder) -> None:
    """Store all that waits for it, in a thread; where that fails the run is stopped."""
    loop = asyncio.get_running_loop()
    try:
        storing = loop.run_in_executor(None, recorder.commit)
    except RuntimeError:  # the program is about to exit: there are no more threads
        store_now(delivery)
        return
    while not storing.done():
        try:
            await asyncio.wait([storing])
        except asyncio.CancelledError:
            if not _is_cut_short():
                raise
    error = storing.exception()
    if error is not None:
        _drop_unstored(delivery, recorder, error)


def store_now(delivery: Delivery) -> None:
    """Store what waits in the backlog for that, where nothing can be awaited any more."""
    recorder = delivery.options.recorder
    if recorder is not None and recorder.awaited:
        try:
            recorder.commit()
        except Exception as error:
            _drop_unstored(delivery, recorder, error)


def _drop_unstored(delivery: Delivery, recorder: Recorder, error: BaseException) -> None:
    """Stop the run: what waits in the backlog could not be stored."""
    lost = recorder.fail(error)
    waiting = list(delivery.backlog)
    delivery.backlog.clear()
    delivery.backlog.extend(recorder.without_unstored(waiting))
    delivery.lose(lost)


async def _deliver(delivery: Delivery, event: Event, handlers: Handlers) -> None:
    for handler in handlers.calls:
        try:
            result = delivery.call(handler, event)
            if result is not None and inspect.isawaitable(result):
                await result
        except Exception as error:
            delivery.handler_failed(handler, event, error)
        except GeneratorExit:
            raise
        except BaseException as error:
            if not (isinstance(error, asyncio.CancelledError) and _is_cut_short()):
                delivery.fail(error)
    if delivery.audience.consumer is not None:
        delivery.to_consumer(event)


def _is_cut_short() -> bool:
    """Whether the task that runs was asked to cancel; it takes that back, and goes on."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0 and task.uncancel() >= 0
