"""A worker process's end of the connection to its driver: messages up, what was delivered down."""

from __future__ import annotations

import os
import threading
import time
from multiprocessing.connection import Client, Connection
from typing import Any, Final

from flowevents.workers.outlet import Outlet
from flowevents.workers.parcels import Group, Outcome, Task, Work

__all__ = ["GRACE", "STOP", "run_in_process"]

STOP: Final = -1
"""In place of a count: the worker of that ticket is to stop."""
GRACE: Final = 5.0
"""Seconds that code has to stop in, in a worker whose driver is gone, before the process ends."""
_LOOKS: Final = 1.0
"""Seconds after which a worker process looks whether its parent is there."""


def run_in_process(work: Work, task: Task, address: Any, key: bytes, ticket: int) -> Outcome:
    """Run an item in a worker process, connected to its driver."""
    channel = _channel(address, key)
    outlet = channel.open(ticket)
    try:
        return work(task, outlet)
    finally:
        channel.shut(ticket)


class _Channel:
    """One connection to a driver, for all that this process does for one of its steps."""

    def __init__(self, address: Any, key: bytes) -> None:
        self._address = address
        self._connection: Connection[Any, Any] = Client(address, authkey=key)
        self._connection.send(os.getpid())
        self._outlets: dict[int, Outlet] = {}
        self._sending = threading.Lock()
        self.over = False
        thread = threading.Thread(target=self._listen, name="flowevents channel", daemon=True)
        thread.start()

    def open(self, ticket: int) -> Outlet:
        """Return the outlet of an execution."""

        def send(group: Group) -> None:
            try:
                with self._sending:
                    self._connection.send((ticket, group.token, group.first, group.messages))
            except OSError:  # the driver is gone; `_listen` sees it, too
                outlet.stopped = True

        outlet = self._outlets[ticket] = Outlet(send)
        return outlet

    def shut(self, ticket: int) -> None:
        """The execution has ended."""
        del self._outlets[ticket]

    def _listen(self) -> None:
        """Hear what was delivered and what is to stop, until the driver says that it is over."""
        try:
            while (said := self._connection.recv()) is not None:
                self._hear(*said)
        except (EOFError, OSError):
            _end_process()
        self.over = True
        if _channels.get(self._address) is self:
            del _channels[self._address]
        self._connection.close()

    def _hear(self, ticket: int, count: int) -> None:
        outlet = self._outlets.get(ticket)
        if outlet is None:
            return
        if count == STOP:
            outlet.stop()
        else:
            outlet.delivered(count)

    def stop(self) -> bool:
        """Have all stop that it is for; whether something still runs."""
        for outlet in list(self._outlets.values()):
            outlet.stop()
        return bool(self._outlets)


_channels: Final[dict[Any, _Channel]] = {}
_connecting: Final = threading.Lock()
_watching: list[int] = []  # the parent of this process, once it is watched


def _channel(address: Any, key: bytes) -> _Channel:
    with _connecting:
        if not _watching:
            _watching.append(os.getppid())
            threading.Thread(target=_watch, name="flowevents watch", daemon=True).start()
        channel = _channels.get(address)
        if channel is None or channel.over:
            channel = _channels[address] = _Channel(address, key)
        return channel


def _watch() -> None:
    """End this process when its parent is gone: a pool's workers would wait for more for ever.

    A lost connection says it faster, but a forked sibling may hold the driver's end open.
    """
    while os.getppid() == _watching[0]:
        time.sleep(_LOOKS)
    _end_process()


def _end_process() -> None:
    """End this process, after its code had time to stop."""
    until = time.monotonic() + GRACE
    while sum(each.stop() for each in list(_channels.values())) and time.monotonic() < until:
        time.sleep(0.01)
    os._exit(1)
