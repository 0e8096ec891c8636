"""The items of a batch node in a run with a journal: those that have finished do not run again.

It is what `batches.py` does, with all that an item may be and whoever listens; beside it, what an
item was given and what it gave is kept, and a step that was lost goes on with its items.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from msgspec import UNSET

from flowevents.engine.attempts import attempts_of, begin_again
from flowevents.engine.effects import Await, Cancelled, Effects
from flowevents.engine.groups import Blocked, Group, drive, limit_of
from flowevents.engine.items import Fresh, begin_items, end_item, end_lost_items, item_of, taken
from flowevents.engine.recorder import Recorder
from flowevents.engine.step import Items, Step, Track, on_track
from flowevents.errors import FlowEventsError
from flowevents.journal.standing import Item, Tried

__all__ = ["Stored", "execute_stored", "stored_items"]

logger: Final = logging.getLogger("flowevents")

Known = dict[int, Item | Tried]
"""The items of a step that was lost, by their index: those that have finished, and open ones."""


def execute_stored(track: Track, step: Step, node: Any, batch: Any, recorder: Recorder) -> Effects:
    """Return the step's `exec_res`, the results of its items."""
    work, arguments = yield from stored_items(step, node, batch, recorder)
    items, outside = work.items, track.here
    if step.plan.shape.batch == "parallel":
        limit = limit_of(step.plan, node)
        yield Await(Group(step.state).run(work.in_task, arguments, limit))
    else:
        for index, argument in arguments:
            item = items.current = work.item(index, argument)
            if outside is not None:
                track.stand(item)
            yield from work.run(track, item, argument)
            yield from end_item(item)
            items.attempt = item.counted(item.attempt)
            if outside is not None:
                track.stand_at(outside)
        items.current = None
    return items.results


def stored_items(step: Step, node: Any, batch: Any, recorder: Recorder) -> Effects:
    """Return what is done for each item, and those that are still to run, with their indexes."""
    lost = step.lost()
    known: Known = {} if lost is None else lost.items
    items = begin_items(step, batch)
    source = iter(taken(step, batch))
    head: list[Any] = []
    if known:
        head = list(islice(source, max(known) + 1))
        if not _are_as_before(known, head, recorder):
            yield from _void(step, items, known)
            known = {}
    items.done = sum(isinstance(each, Item) for each in known.values())
    work = Stored(step, items, node, known, recorder)
    return work, work.to_run(chain(head, source))


def _are_as_before(known: Known, head: list[Any], recorder: Recorder) -> bool:
    """Whether `prep` gave the same items again, and the results of all that finished are kept."""
    if len(known) <= max(known):  # one was cancelled
        return False
    for index, each in known.items():
        if index >= len(head) or not each.digest:
            return False
        if each.digest != recorder.notes.digest(head[index]):
            return False
        if isinstance(each, Item) and each.result is UNSET and each.error is None:
            return False
    return True


def _void(step: Step, items: Items, known: Known) -> Effects:
    """End the items that were open, and have all of them begin again."""
    voided = Cancelled("the items of a batch begin again")
    items.done = sum(isinstance(each, Item) for each in known.values())
    yield from end_lost_items(step, voided)
    items.done = 0
    yield from begin_again(step)


class Stored(Fresh):
    """What becomes of the items of one step in a run with a journal."""

    __slots__ = ("known", "recorder", "told")

    def __init__(
        self, step: Step, items: Items, node: Any, known: Known, recorder: Recorder
    ) -> None:
        super().__init__(step, items, node)
        self.known: Known = known
        self.recorder: Recorder = recorder
        self.told: bool = False

    def to_run(self, arguments: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Put the results of finished items where they belong, and return the other items."""
        for index, argument in super().to_run(arguments):
            known = self.known.get(index)
            if isinstance(known, Item):
                self.items.results[index] = self.result_of(known)
            else:
                yield index, argument

    def result_of(self, known: Item) -> Any:
        """Return what a finished item gave, or an error that says what it failed with."""
        if known.result is UNSET:
            return FlowEventsError(known.error)
        return self.recorder.notes.read(known.result)

    def item(self, index: int, argument: Any) -> Step:
        """Return the item, which begins, or goes on."""
        lost = self.known.pop(index, None)
        if not isinstance(lost, Tried):
            return super().item(index, argument)
        self.recorder.notes.remember(lost)
        item = item_of(self.step, self.items, lost.span, index, lost.attempt)
        self.items.index = -1
        item.context = self.step.context
        return item

    def begins_again(self, index: int) -> bool:
        """Whether it was open when the run was lost."""
        return isinstance(self.known.get(index), Tried)

    def run(self, track: Track, item: Step, argument: Any) -> Effects:
        """Run an item up to its end, and keep its result."""
        yield from self.start(item, argument, track)
        result = yield from attempts_of(self.step, self.node)(item, self.node, argument)
        self.keep(item, result)

    def start(self, item: Step, argument: Any, track: Track | None = None) -> Effects:
        """Publish its start, or that it goes on."""
        if item.lost() is not None:
            yield from begin_again(item)
        else:
            self.recorder.notes.given(argument)
            yield from super().start(item, argument, track)

    def keep(self, item: Step, result: Any) -> None:
        """Keep its result."""
        super().keep(item, result)
        if item.open and not self.recorder.notes.result(result) and not self.told:
            self.told = True
            logger.warning(
                "Node %r of run %s: the result of an item is %s, which a journal cannot keep; if "
                "the step is lost its items run again, all of them.",
                self.step.plan.path,
                self.step.state.options.run_id,
                type(result).__name__,
            )

    async def in_task(self, blocked: Blocked, _: int, argument: tuple[int, Any]) -> None:
        """Run an item in a task of its own."""
        state = self.step.state
        item = self.item(*argument)
        track = Track(item, blocked, asyncio.current_task(state.door.loop))
        track.stand(item)
        if self.step.context is not None:
            item.context = on_track(self.step.context.copy(), track)
        try:
            await drive(state.delivery, self._whole(track, item, argument[1]))
        finally:
            track.end()

    def _whole(self, track: Track, item: Step, argument: Any) -> Effects:
        try:
            yield from self.run(track, item, argument)
            yield from end_item(item)
        except BaseException as failed:
            yield from end_item(item, failed)
            raise
