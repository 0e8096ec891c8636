"""The one thread of a journal: it stores what waits, reads inboxes, renews leases, wakes followers.

The rules of this file:

* The thread is there while a lease or a follower is, and a moment longer. It looks 50 times a
  second.
* It holds neither the journal nor a lease: a run that nobody holds any more is collected.
* It never holds the lock while it calls the store or anybody else.
* A forked process begins anew. The fork waits for the store's calls that are under way, so that
  the child finds no connection in the middle of one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

from flowevents.at_exit import close_at_exit
from flowevents.errors import JournalError
from flowevents.journal.lease import Lease
from flowevents.journal.store import Store

__all__ = ["Keeper", "Watch", "closed"]

_logger: Final = logging.getLogger("flowevents")
_TICK: Final = 0.02  # seconds
_LINGER: Final = 1.0  # seconds in which the thread waits for more to do

Wake = Callable[[], None]


class Watch:
    """Somebody's interest in a log.

    Attributes:
        seq: The last event that is known.
        changed: Whether there may be others by now. Set to `False` before they are read.
        wake: Is called, in any thread, when that becomes `True`.
        is_over: Nobody is interested any more.
    """

    __slots__ = ("changed", "is_over", "seq", "wake")

    def __init__(self, seq: int) -> None:
        self.seq: int = seq
        self.changed: bool = True
        self.wake: Wake = _nothing
        self.is_over: bool = False

    def notify(self) -> None:
        """There may be others."""
        self.changed = True
        self.wake()


class Keeper:
    """What a journal does in the background.

    Args:
        store: Where the journal is.
        seconds: How long a lease runs.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self.store: Store = store
        self.seconds: float = seconds
        self._leases: dict[int, weakref.ref[Lease]] = {}
        self._watches: dict[str, list[Watch]] = {}  # by run; no list is ever changed
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._renew_at = 0.0
        with _keepers_lock:
            _keepers.add(self)

    # -- what it keeps --------------------------------------------------------------------------

    def keep(self, lease: Lease) -> None:
        """Renew a lease and look into its inbox, while it is held."""
        key, leases = id(lease), self._leases
        with self._changed:
            self._begin()
            leases[key] = weakref.ref(lease, lambda _: leases.pop(key, None) and None)
            self._renew_at = self._renew_at or time.monotonic() + self.seconds / 3
        close_at_exit("journals", self, Keeper.close)

    def watch(self, run_id: str, seq: int) -> Watch:
        """Watch the log of a run, of which the events up to `seq` are known."""
        watch = Watch(seq)
        with self._changed:
            self._begin()
            self._watches[run_id] = [*self._watches.get(run_id, ()), watch]
        return watch

    def _begin(self) -> None:
        """Have the thread be there, and look, for what is about to be kept."""
        if self._closed:
            raise closed()
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="flowevents journal", daemon=True
            )
            self._thread.start()
        elif not self._is_needed():  # else it looks soon
            self._changed.notify_all()

    # -- called by others -----------------------------------------------------------------------

    def wake(self, run_id: str, tip: int | None) -> None:
        """This is the last event of a log now: notify those who know another."""
        for watch in self._watches.get(run_id, ()):
            if watch.seq != tip:
                _call(watch.notify)

    def flush(self, run_id: str) -> None:
        """Store what waits of a run that is driven here."""
        for lease in self._held():
            if lease.run_id == run_id:
                lease.store_waiting()

    def close(self) -> None:
        """Store what waits, give up the leases, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        for lease in self._held():
            _call(lease.end, closed())
        self._wake_all()

    # -- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._closed:
                    self._changed.wait(_TICK if self._is_needed() else _LINGER)
                if self._closed or not self._is_needed():
                    self._thread = None
                    return
            _call(self._tick)

    def _is_needed(self) -> bool:
        return bool(self._leases or self._watches)

    def _tick(self) -> None:
        leases = self._held()
        for lease in leases:
            _call(lease.store_waiting)
        by_held = {held: lease for lease in leases if (held := lease.held) is not None}
        watched = self._watched()
        try:
            if time.monotonic() >= self._renew_at:
                self.store.renew(list(by_held), self.seconds)
                self._renew_at = time.monotonic() + self.seconds / 3
            polled = self.store.poll(list(by_held), watched)
        except JournalError as error:
            for held, lease in by_held.items():
                _call(lease.lose, held, error)
            self._wake_all()
            return
        for held, lease in by_held.items():
            if held in polled.lost:
                _call(lease.lose, held)
            elif held[0] in polled.mail:
                _call(lease.hear, polled.mail[held[0]])
        for run_id, tip in polled.tips.items():
            self.wake(run_id, tip)

    def _held(self) -> list[Lease]:
        """The leases that are held; the others need no care any more."""
        held = []  # of a copy: making a list of items may collect garbage, and with it leases
        for key, ref in self._leases.copy().items():
            lease = ref()
            if lease is not None and lease.held is not None:
                held.append(lease)
                continue
            with self._changed:
                if self._leases.get(key) is ref and (lease is None or lease.held is None):
                    del self._leases[key]
        return held

    def _wake_all(self) -> None:
        for watches in self._watches.copy().values():
            for watch in watches:
                _call(watch.notify)

    def _watched(self) -> list[str]:
        """The runs that somebody watches; the other watches are forgotten."""
        with self._changed:
            for run_id, watches in self._watches.copy().items():
                self._watches[run_id] = [each for each in watches if not each.is_over]
                if not self._watches[run_id]:
                    del self._watches[run_id]
            return list(self._watches)

    # -- in a forked process --------------------------------------------------------------------

    def forget(self) -> None:
        """What it kept is the parent's."""
        leases = [lease for ref in self._leases.copy().values() if (lease := ref()) is not None]
        self._changed = threading.Condition()
        self._thread = None
        self._leases.clear()
        for watch in [each for watches in self._watches.values() for each in watches]:
            watch.is_over = True
        self._watches.clear()
        self._renew_at = 0.0
        for lease in leases:
            lease.forget()


def _nothing() -> None:
    pass


def closed() -> JournalError:
    """The error for a use after the end."""
    return JournalError("The journal is closed. Open another one.")


def _call(function: Callable[..., object], *args: object) -> None:
    try:
        function(*args)
    except Exception:
        _logger.exception("A call from the thread of a journal failed")


# -- forks ----------------------------------------------------------------------------------------

_keepers: Final[weakref.WeakSet[Keeper]] = weakref.WeakSet()
_keepers_lock: Final = threading.RLock()
_stopped: Final[list[Keeper]] = []  # during a fork


def _before_fork() -> None:
    _keepers_lock.acquire()
    _stopped.extend(_keepers)
    for each in _stopped:
        each.store.before_fork()


def _after_fork(in_child: bool) -> None:
    for each in _stopped:
        each.store.after_fork(in_child=in_child)
        if in_child:
            each.forget()
    _stopped.clear()
    _keepers_lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(in_child=False),
        after_in_child=lambda: _after_fork(in_child=True),
    )
