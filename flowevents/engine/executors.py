"""The items of a batch node with `executor=`: sent to workers, and what comes of them published.

The rules of this file:

* It is the driver: it alone decides what becomes of an item, and publishes; workers only say what
  happens (`work.py`), by way of a lane (`flowevents/workers/lane.py`).
* An item has begun when a worker says so. What waits in an executor has no events.
* What two executions of an item say is never mixed: the first one's is voided by a `Retry` whose
  error begins with `Lost`, whether the engine runs it again by itself or the item is submitted
  again.
* On every way out what waits is cancelled, what runs is told to stop, and it is over when no worker
  works any more, or after `grace` seconds. Nothing is published of an item meanwhile but its end.
* It goes on in the thread, or the loop, of the run. Other threads only leave what has come, and
  wake it (`arrivals.py`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterator
from functools import partial
from time import monotonic
from typing import Any, Final

from msgspec.structs import replace

from flowevents.engine.arrivals import Arrivals, aside
from flowevents.engine.calls import call
from flowevents.engine.effects import Cancelled, Effects, Failed, again
from flowevents.engine.errands import Errand, publish, void
from flowevents.engine.groups import limit_of
from flowevents.engine.items import Fresh, begin_items, end_item, taken
from flowevents.engine.step import Step
from flowevents.engine.stored_batches import stored_items
from flowevents.engine.work import work
from flowevents.errors import FlowEventsError, WorkerLost
from flowevents.workers.executor import Workers
from flowevents.workers.lane import Lane
from flowevents.workers.parcels import (
    Group,
    packed_argument,
    packed_node,
    unpacked,
    unpacked_error,
)

__all__ = ["execute_elsewhere"]

_MISSING: Final = 5.0
"""Seconds in which the last messages of an execution come that has ended."""
_AGAIN: Final = (
    ", {} times: something ends the process of the worker that runs it (a crash in a library, the "
    "system where memory is short)."
)
_BROKEN: Final = (
    ", and the executor is broken, which is not made anew because it is not the node's own: give "
    "executor= a function that makes one, as in functools.partial(ProcessPoolExecutor, 4)."
)
_UNBEGUN: Final = (
    " No worker had begun it: a process that is spawned imports the program's main module, which "
    "needs `if __name__ == '__main__':` around what it runs."
)


def execute_elsewhere(step: Step, node: Any, batch: Any, workers: Workers) -> Effects:
    """Return the step's `exec_res`: the results of its items, which run in workers."""
    recorder = step.state.options.recorder
    if recorder is not None:
        kept, arguments = yield from stored_items(step, node, batch, recorder)
    else:
        kept = Fresh(step, begin_items(step, batch), node)
        arguments = kept.to_run(taken(step, batch))
    dispatch = _Dispatch(step, node, kept, arguments, workers)
    try:
        yield from dispatch.run()
    except BaseException as error:
        yield from dispatch.end_by(error)
        raise
    yield from dispatch.close()
    return kept.items.results


class _Dispatch:
    """The items of one step that are under way."""

    __slots__ = (
        "_arguments",
        "_arrivals",
        "_errands",
        "_incomplete",
        "_kept",
        "_lane",
        "_limit",
        "_lost",
        "_node",
        "_step",
        "_tickets",
        "_workers",
    )

    def __init__(
        self,
        step: Step,
        node: Any,
        kept: Fresh,
        arguments: Iterator[tuple[int, Any]],
        workers: Workers,
    ) -> None:
        self._step = step
        self._node = node
        self._kept = kept
        self._arguments: Iterator[tuple[int, Any]] | None = arguments  # that are still to begin
        self._limit = limit_of(step.plan, node)
        self._workers = workers
        self._arrivals = Arrivals(step.state)  # groups and futures
        self._errands: dict[int, Errand] = {}  # under way, by ticket
        self._incomplete: dict[int, float] = {}  # until when missing messages are waited for
        self._lost: dict[int, Errand] = {}  # to be submitted again
        self._tickets = itertools.count(1)
        self._lane: Lane = workers.lane(self._arrivals.leave)

    def run(self) -> Effects:
        """Send all items to workers, and publish what comes."""
        node = self._node
        if self._lane.pickles:
            node = packed_node(node, self._step.plan.path)
        arrivals = self._arrivals
        while True:
            self._fill(node)
            if not self._errands:
                return
            yield from arrivals.wait(_MISSING if self._incomplete else None)
            for _ in range(len(arrivals.waiting)):  # more may come all the time
                yield from self._take(*arrivals.waiting.popleft())
            if self._incomplete:
                self._miss()
            if self._lost and self._all_known():
                yield from self._send_again(node)

    # -- out ------------------------------------------------------------------------------------

    def _fill(self, node: Any) -> None:
        """Submit items for which there is room, none before all of these can be sent."""
        ready: list[Errand] = []
        while self._arguments is not None and (
            self._limit is None or len(self._errands) + len(ready) < self._limit
        ):
            following = next(self._arguments, None)
            if following is None:
                self._arguments = None
                break
            ready.append(self._errand(*following))
        for errand in ready:
            self._submit(errand, node)

    def _errand(self, index: int, argument: Any) -> Errand:
        sent = argument
        if self._lane.pickles:
            sent = packed_argument(argument, index, self._step.plan.path)
        errand = Errand(index, argument, sent)
        if self._kept.begins_again(index):
            errand.item = self._kept.item(index, argument)
            lost = errand.item.lost()
            if lost is not None:
                errand.before = replace(lost)
        return errand

    def _submit(self, errand: Errand, node: Any) -> None:
        errand.ticket = ticket = next(self._tickets)
        errand.future = None
        self._errands[ticket] = errand
        task = errand.task(self._step, node)
        try:
            errand.future = call(self._step, self._lane.submit, ticket, work, task)
        except Exception as error:
            if not self._lane.is_loss(error):
                raise
            self._lost[ticket] = errand
        else:
            errand.future.add_done_callback(partial(self._arrivals.leave, ticket))

    # -- in -------------------------------------------------------------------------------------

    def _take(self, ticket: int, what: Any) -> Effects:
        errand = self._errands.get(ticket)
        if errand is None:  # it was submitted again
            return
        if isinstance(what, Group):
            yield from self._publish(errand, what)
        else:
            yield from self._ended(errand, what)
        if errand.is_whole():
            del self._errands[ticket]
            self._incomplete.pop(ticket, None)
            yield from self._finish(errand)

    def _publish(self, errand: Errand, group: Group) -> Effects:
        if errand.is_of_another(group.token):
            yield from self._void(errand)
        if errand.takes(group):
            yield from publish(errand, self._kept, self._step, group.messages)
            errand.received += len(group.messages)
        self._lane.deliver(errand.ticket, len(group.messages))

    def _ended(self, errand: Errand, future: Any) -> Effects:
        if future.cancelled():
            raise FlowEventsError(f"{self._name(errand)} was cancelled by its executor.")
        error = future.exception()
        if error is None:
            outcome = future.result()
            if errand.is_of_another(outcome.token):
                yield from self._void(errand)
            errand.token = errand.token or outcome.token
            errand.outcome = outcome
            self._incomplete[errand.ticket] = monotonic() + _MISSING
        elif self._lane.is_loss(error):
            self._lost[errand.ticket] = errand
        else:
            raise error

    def _finish(self, errand: Errand) -> Effects:
        """End an item as its worker says."""
        item, outcome = errand.item, errand.outcome
        assert item is not None
        assert outcome is not None
        now = item.state.options.clock.monotonic()
        if item.began is not None:  # it is later where all that was said comes with the result
            item.began = min(item.began, now - outcome.duration)
        error: BaseException | None = None
        result: Any = None
        try:
            result = unpacked(outcome.value)
            if outcome.error is not None:
                error = unpacked_error(outcome.error)
        except Exception as of_pickle:
            error = of_pickle
        if error is None:
            self._kept.keep(item, result)
            yield from end_item(item)
        elif self._node.return_exceptions and isinstance(error, Exception):
            recorder = item.state.options.recorder
            if recorder is not None:
                recorder.notes.excused()
            self._kept.items.results[item.index] = error
            yield from end_item(item, error)
        else:
            yield from end_item(item, error)
            again(error)

    # -- lost workers ---------------------------------------------------------------------------

    def _miss(self) -> None:
        """Count as lost what has ended, and of which messages do not come."""
        now = monotonic()
        for ticket, until in self._incomplete.items():
            if until < now:
                self._lost[ticket] = self._errands[ticket]

    def _all_known(self) -> bool:
        """Whether no other item will be lost by what has lost these."""
        return not self._lane.breaks or all(
            ticket in self._lost or errand.outcome is not None
            for ticket, errand in self._errands.items()
        )

    def _send_again(self, node: Any) -> Effects:
        """Submit again what was lost, void what came of it; only who is to blame counts it."""
        lost, lane = self._lost, self._lane
        begun = [ticket for ticket, errand in lost.items() if errand.token is not None]
        blamed: Collection[int] = lost
        if begun:
            blamed = yield from aside(self._step.state, partial(lane.blamed, begun))
        for ticket in blamed:
            yield from self._count(lost[ticket])
        renewed = yield from aside(self._step.state, lane.renew)
        if not renewed:
            yield from self._give_up(lost[next(iter(blamed))], _BROKEN)
        self._lost = {}
        for ticket, errand in lost.items():
            yield from void(errand)
            del self._errands[ticket]
            self._incomplete.pop(ticket, None)
            self._submit(errand, node)

    def _void(self, errand: Errand) -> Effects:
        """An execution was lost, and the engine itself has begun another one."""
        self._incomplete.pop(errand.ticket, None)
        yield from self._count(errand)
        yield from void(errand)

    def _count(self, errand: Errand) -> Effects:
        errand.lost += 1
        if errand.lost >= self._workers.max_lost:
            yield from self._give_up(errand, _AGAIN.format(errand.lost))

    def _give_up(self, errand: Errand, why: str) -> Effects:
        """End a lost item, and with it the step."""
        cause = None if errand.future is None else errand.future.exception()
        why += "" if errand.token is not None else _UNBEGUN
        error = WorkerLost(f"{self._name(errand)} was lost with its worker{why}")
        if errand.item is not None:
            yield from end_item(errand.item, error)
        raise error from cause

    def _name(self, errand: Errand) -> str:
        label = ""
        if errand.item is not None and "item_label" not in self._step.plan.shape.idle:
            label = f" ({call(self._step, self._node.item_label, errand.argument)})"
        return f"Item {errand.index}{label} of node {self._step.plan.path!r}"

    # -- the end --------------------------------------------------------------------------------

    def end_by(self, error: BaseException) -> Effects:
        """Have no worker work any more, and end what was open."""
        sent = [each for each in self._errands.values() if each.future is not None]
        for errand in [each for each in reversed(sent) if not each.future.cancel()]:
            self._lane.stop(errand.ticket)  # first what waits is cancelled, the last one first
        until = monotonic() + self._workers.grace
        first: BaseException | None = None
        can_wait = not (self._step.state.is_async and isinstance(error, GeneratorExit))
        while can_wait and self._running() and (left := until - monotonic()) > 0:
            self._arrivals.waiting.clear()
            try:
                yield from self._arrivals.sleep(left)
            except asyncio.CancelledError:
                continue  # it is over soon in any case
            except BaseException as another:  # a second Ctrl-C, or it is closed meanwhile
                first, can_wait = another, False
        failed = isinstance(error, (Exception, Failed))
        why = Cancelled("another item has failed") if failed else error
        for errand in self._errands.values():
            try:
                if errand.item is not None:
                    yield from end_item(errand.item, why)
            except BaseException as of_a_handler:  # the others end all the same
                first = first or of_a_handler
        if can_wait:
            yield from self.close()
        else:
            self._lane.close(self._running())
        if first is not None:
            raise first

    def _running(self) -> bool:
        """Whether a worker still works for it."""
        return any(
            errand.future is not None and not errand.future.done()
            for errand in self._errands.values()
        )

    def close(self) -> Effects:
        """Let the lane go, and give up what has not ended."""
        return aside(self._step.state, partial(self._lane.close, self._running()))
