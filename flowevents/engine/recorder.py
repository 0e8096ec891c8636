"""How a run is stored: the engine's way to its journal.

The rules of this file:

* An event is stored before anybody gets it, and with it all that came before. Chunks and progress
  alone are delivered at once, and stored in groups.
* Between the end of a step, its `Action` and the start of the next one there is no code of the
  user's: they are stored in one commit, and nobody gets the first before the last is stored.
* Where the journal is over a network, an async run awaits its stores: an event that is to be stored
  waits in the backlog, and `flushing.py` stores all that has come by then in a thread.
* Where an event cannot be stored the run stops like a cancel, with that error. From then on, and
  from when the run was let go, nothing is stored any more: what is open here ends, heard by its
  handlers, but in no log.

Only this file writes the fields of `Recorder`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from flowevents.engine.effects import CancelledBy
from flowevents.engine.inbox import Inbox
from flowevents.engine.notes import Notes
from flowevents.engine.questions import Questions
from flowevents.errors import JournalError
from flowevents.events import (
    Action,
    Chunk,
    Event,
    FlowEnd,
    ItemEnd,
    NodeEnd,
    Progress,
    Reply,
    describe_error,
)
from flowevents.journal.codec import Codec
from flowevents.journal.records import Entry, recorded
from flowevents.signals import Handlers

if TYPE_CHECKING:
    from flowevents.journal.journal import Journal
    from flowevents.journal.lease import Lease
    from flowevents.journal.records import Message

__all__ = ["Held", "Recorder", "recorder_of"]

logger: Final = logging.getLogger("flowevents")

Held = tuple[Event, Handlers]
"""An event that is to be delivered, and to whom."""


class Recorder:
    """Stores the events of one run.

    Args:
        journal: Where.
        notes: What is kept beside its events.

    Attributes:
        journal: Where it is stored.
        awaited: Stores are awaited: an event waits in the backlog for its own.
        last: The number of the last event that is stored, or about to be.
        lease, inbox: The right to write its log, and what comes from elsewhere, once it has begun.
        lost: Why nothing can be stored any more.
        released: Nothing is to be stored: it has not begun, has ended, or was let go.
        together: What comes is held, to be stored in one commit.
    """

    __slots__ = (
        "_entries",
        "_held",
        "_lock",
        "awaited",
        "inbox",
        "journal",
        "last",
        "lease",
        "lost",
        "notes",
        "released",
        "together",
    )

    def __init__(self, journal: Journal, notes: Notes) -> None:
        self.notes: Notes = notes
        self.awaited: bool = False
        self.last: int = 0
        self.lease: Lease
        self.inbox: Inbox
        self.lost: JournalError | None = None
        self.released: bool = True
        self.together: bool = False
        self.journal: Journal = journal
        self._lock = threading.Lock()  # of who commits
        self._entries: list[Entry] = []  # to be stored
        self._held: list[Held] = []  # to be delivered when that is done

    def begin(
        self,
        run_id: str,
        flow: str,
        shared: Any,
        questions: Questions,
        *,
        capture: bool,
        max_steps: int | None,
        name: str | None,
        metadata: dict[str, Any],
    ) -> None:
        """Begin the log of a new run.

        Raises `JournalError` for what of `shared` cannot be kept, and `RunStateError` where the
        journal has a run of that id.
        """
        self.notes.begin(shared, capture, max_steps, name, metadata)
        self._hold(self.journal.begin(run_id, flow, metadata), questions)

    def go_on(self, lease: Lease, shared: Any, questions: Questions) -> None:
        """Go on with a log, which has all of this `shared`."""
        self.notes.go_on(shared)
        self._hold(lease, questions)

    def _hold(self, lease: Lease, questions: Questions) -> None:
        self.lease, self.inbox = lease, Inbox(lease, questions)
        self.last, self.released = lease.seq, False

    # -- storing ----------------------------------------------------------------------------------

    def store(self, event: Event, handlers: Handlers) -> list[Held]:
        """Store an event, and return what is to be delivered, in order.

        Raises what cancels the run where it cannot be stored.
        """
        if self.lost is not None and self.last < event.span < event.seq:
            return self._due()  # nobody has heard of its start
        self._held.append((event, handlers))
        if self.released:
            return self._due()
        if self.lost is not None:
            self._give_up(self.lost)
            return self._due()
        self.last = event.seq
        grouped = type(event) in (Chunk, Progress)
        if grouped and not (self.awaited and self._entries):
            self._store()
            self._store_later(event)
            return self._due()
        # What is kept goes with the next event that has to be stored: another track may be between
        # a flow's prep and the first start in it.
        self._entries.append(recorded(event, None if grouped else self.notes.take()))
        return [] if self.together or _is_followed(event) else self.store_held()

    def later(self, event: Event) -> bool:
        """Have a chunk stored in a group, where nothing has to be stored before; whether it is."""
        if self._held or self._entries or self.released or self.lost is not None:
            return False
        try:
            self.lease.later(event)
        except JournalError as error:
            self.lose(error)
            return False
        self.last = event.seq
        return True

    def _store_later(self, event: Event) -> None:
        try:
            self.lease.later(event)
        except JournalError as error:
            self._give_up(error)

    def hold(self) -> None:
        """Have all that comes held, until `store_held`."""
        self.together = True

    def store_held(self) -> list[Held]:
        """Store what is held, in one commit, and return what is to be delivered."""
        self.together = False
        if not self.awaited:
            self._store()
        return self._due()

    def _due(self) -> list[Held]:
        due, self._held = self._held, []
        return [_unstored(*each) for each in due] if self._entries else due

    def _store(self) -> None:
        if self._entries:
            try:
                self.commit()
            except JournalError as error:
                self._give_up(error)

    def commit(self) -> None:
        """Store all that is to be stored, in order; from any thread. Raises `JournalError`."""
        entries, inbox = self._entries, self.inbox
        with self._lock:
            while entries:
                together, taken = len(entries), None
                for at, (event, _) in enumerate(entries):
                    if type(event) is Reply and (taken := inbox.answer(event)) is not None:
                        together = at + 1  # a commit takes one message from the inbox
                        break
                if self.lease.is_paused:
                    self.lease.take_again()
                self.lease.append(*entries[:together], taken=taken)
                del entries[:together]
                if taken is not None:
                    inbox.remove(taken)

    def _give_up(self, error: JournalError) -> None:
        """Stop: the last event cannot be stored. It is delivered all the same where it is the end
        of something that is stopped already."""
        self.lose(error)
        self.last = min(self.last, self._held[0][0].seq - 1)
        self._entries.clear()
        last = self._held.pop()
        self._held = self.without_unstored(self._held)
        if getattr(last[0], "status", "ok") == "ok":
            raise CancelledBy(error) from None
        self._held.append(last)
        self.release()

    # -- stores that are awaited ------------------------------------------------------------------

    def await_stores(self) -> None:
        """Have the stores of an async run awaited, where its journal is over a network."""
        self.awaited = self.lease.is_remote

    def is_stored(self, event: Event) -> bool:
        """Whether this event has not to be stored before it is delivered."""
        return not self._entries or event.seq < self._entries[0][0].seq

    def without_unstored(self, held: Iterable[Held]) -> list[Held]:
        """Return what is delivered where no more is stored: of the rest the ends of what was
        begun."""
        assert self.lost is not None
        due: list[Held] = []
        for event, handlers in held:
            if event.seq > self.last:
                if not isinstance(event, (ItemEnd, NodeEnd, FlowEnd)) or event.span > self.last:
                    continue
                if event.status == "ok":
                    text = describe_error(self.lost)
                    event = replace(event, status="cancelled", error=text)
            due.append((event, handlers))
        return due

    def fail(self, error: BaseException) -> JournalError:
        """Note that what is to be stored is not; return why."""
        if not isinstance(error, JournalError):
            lost = JournalError(f"The events of run {self.lease.run_id} were not stored: {error!r}")
            lost.__cause__, error = error, lost
        self.lose(error)
        self.last = self.lease.seq
        self._entries.clear()
        return error

    # -- pausing, and what comes from elsewhere ---------------------------------------------------

    def listen(self, cancel: Callable[[], None], lose: Callable[[JournalError], None]) -> None:
        """Have what comes from elsewhere taken: answers, a cancel, or that the lease is lost."""

        def hear(message: Message) -> None:
            if message.kind == "cancel":
                cancel()
            else:
                self.inbox.hear(message)

        self.lease.listen(hear, lose)

    def reply(self, value: Any, id: str | None) -> None:
        """Answer a question by the journal, which decides who is the first. Raises `ReplyError`."""
        self.journal.reply(self.lease.run_id, value, id)
        self.look()

    def cancel(self) -> None:
        """Cancel the run, which nobody drives, by the journal, which writes its ends."""
        self.release()
        self.journal.cancel(self.lease.run_id)

    def pause(self) -> bool:
        """Give the lease up, because the run pauses, unless an answer has come meanwhile.

        Whether it is given up. Raises `JournalError`.
        """
        if self.released:
            return True
        taken = [self.inbox.hear(each) for each in self.lease.pause()]
        if any(taken):
            self.go_on_after_pause()
            return False
        return True

    def go_on_after_pause(self) -> None:
        """Take the lease again, and what has come meanwhile. Raises `JournalError`."""
        if self.lease.is_paused and not self.released:
            for each in self.lease.take_again():
                self.inbox.hear(each)
        else:
            self.look()

    def look(self) -> None:
        """Look into the inbox for answers to open questions."""
        if not self.released and self.lost is None:
            for each in self.lease.inbox():
                self.inbox.hear(each)

    # -- the end ----------------------------------------------------------------------------------

    def lose(self, error: JournalError) -> None:
        """Note that nothing can be stored any more; from any thread."""
        if self.lost is None:
            self.lost = error

    def release(self) -> None:
        """Give the run up here: it can be resumed at once; what ends now ends in no log.

        Where the store fails its lease runs out.
        """
        if not self.released:
            try:
                if self.lost is None:
                    self.commit()
                self.released = True
                self.lease.release()
            except JournalError as error:
                if self.lost is None:  # else that is raised already
                    logger.warning(
                        "Run %s was not given up in its journal: %s", self.lease.run_id, error
                    )


def _unstored(event: Event, handlers: Handlers) -> Held:
    """Have the event wait for its store, as for an async handler."""
    return event, Handlers(handlers.calls, (_stored, *handlers.asynchronous))


def _stored(event: Event) -> None:
    raise AssertionError(f"{event!r} was delivered before it was stored")


def _is_followed(event: Event) -> bool:
    """Whether another event follows it at once."""
    if isinstance(event, Action):
        return event.target is not None
    return isinstance(event, (NodeEnd, FlowEnd)) and event.status == "ok" and bool(event.node)


def recorder_of(journal: object, state_types: Iterable[type], transient: Iterable[Any]) -> Recorder:
    """Return what stores a run. Raises `ValueError` for what is no journal, and no set of keys."""
    from flowevents.journal.journal import Journal  # most runs have none

    if not isinstance(journal, Journal):
        raise ValueError(f"journal={journal!r}: a journal, as SQLiteJournal('runs.db'), or None.")
    if isinstance(transient, str):
        raise ValueError(f"transient={transient!r} is one text; give a set of keys of shared.")
    return Recorder(journal, Notes(Codec(state_types), frozenset(transient)))
