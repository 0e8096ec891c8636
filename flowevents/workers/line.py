"""The driver's ends of the connections to the worker processes of one step."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from time import monotonic
from typing import Any, Final

from flowevents.workers.channel import STOP
from flowevents.workers.lane import Arrived
from flowevents.workers.parcels import Group

__all__ = ["Line"]

_LOST: Final = 0.1
"""Seconds in which the connection of a worker that has died is seen to be closed."""


class _Peer:
    """A worker process, as long as it is connected, and afterwards.

    Attributes:
        connection: To it.
        pid: Its number.
        ticket: What it runs, or ran last.
        ended: When its connection was lost, on the monotonic clock.
    """

    __slots__ = ("connection", "ended", "pid", "ticket")

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection
        self.pid: int = 0
        self.ticket: int = 0
        self.ended: float | None = None

    def tell(self, said: Any) -> None:
        """Tell it something; where it is gone, its future will say so."""
        try:
            self.connection.send(said)
        except OSError:
            return


class Line:
    """Listens for the workers of one step, one thread for each that has connected.

    Attributes:
        address, key: What a worker needs to connect.
    """

    def __init__(self, arrived: Arrived) -> None:
        self.key: bytes = os.urandom(32)
        self._listener = Listener(backlog=128, authkey=self.key)
        self.address: Any = self._listener.address
        self._arrived = arrived
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._peers: list[_Peer] = []  # that are connected
        self._of: dict[int, _Peer] = {}  # by ticket, from its beginning to that of the next one
        self._early: set[int] = set()  # tickets to be stopped that have not begun
        self._closed = False

    def begin(self) -> None:
        """Let workers in."""
        if not self._threads:
            self._start(self._accept)

    def tell(self, ticket: int, count: int) -> None:
        """Tell a worker what was delivered, or that it is to stop."""
        with self._lock:
            peer = self._of.get(ticket)
            if peer is not None:
                peer.tell((ticket, count))
            elif count == STOP:
                self._early.add(ticket)

    def process_of(self, ticket: int) -> int:
        """Return the number of the process that has begun this ticket; 0 where none has."""
        with self._lock:
            return self._of[ticket].pid if ticket in self._of else 0

    def first_lost(self, tickets: Collection[int]) -> int | None:
        """Return the ticket whose connection was lost first, once one was."""
        until = monotonic() + _LOST
        while True:
            with self._lock:
                peers = {each: self._of.get(each) for each in tickets}
            ended = [(peer.ended, each) for each, peer in peers.items() if peer and peer.ended]
            if ended:
                return min(ended)[1]
            if monotonic() > until:
                return None
            threading.Event().wait(0.005)

    def close(self) -> None:
        """Tell the workers that it is over, and wait for the threads of this side."""
        with self._lock:
            self._closed = True
            for peer in self._peers:
                peer.tell(None)
        if self._threads:
            try:  # the only way to have `accept` return
                Client(self.address, authkey=self.key).close()
            except (OSError, EOFError, AuthenticationError):
                pass
        for thread in list(self._threads):
            thread.join(1.0)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="flowevents workers", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection: Connection[Any, Any] | None = None
            try:
                connection = self._listener.accept()
            except (OSError, EOFError, AuthenticationError):  # it died meanwhile, or is no worker
                pass
            with self._lock:
                if self._closed:
                    if connection is not None:
                        connection.close()
                    return
                if connection is not None:
                    peer = _Peer(connection)
                    self._peers.append(peer)
                    self._start(self._read, peer)

    def _read(self, peer: _Peer) -> None:
        """Take what one worker process says, until it has ended, or knows that it is over."""
        try:
            peer.pid = peer.connection.recv()
            while True:
                ticket, token, first, messages = peer.connection.recv()
                if peer.ticket != ticket:
                    self._begun(ticket, peer)
                self._arrived(ticket, Group(token, first, messages))
        except (EOFError, OSError):
            with self._lock:
                peer.ended = monotonic()
                self._peers.remove(peer)
                peer.connection.close()

    def _begun(self, ticket: int, peer: _Peer) -> None:
        with self._lock:
            self._of.pop(peer.ticket, None)
            self._of[ticket] = peer
            peer.ticket = ticket
            if ticket in self._early:
                peer.tell((ticket, STOP))
