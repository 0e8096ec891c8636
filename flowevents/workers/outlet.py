"""What a worker says of one item: in order, in groups, at most 20 ms late, and not too fast."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from flowevents.workers.parcels import Group, Message

__all__ = ["LATE", "MOST_UNDELIVERED", "Outlet"]

LATE: Final = 0.02
"""Seconds that a message waits for others at most."""
MOST_UNDELIVERED: Final = 1000
"""How many messages of an item the driver may not have delivered yet: then its worker waits."""
MOST_TOGETHER: Final = 250
"""How many messages are sent together at most."""


class Outlet:
    """The way of one execution's messages to the driver.

    The first message after a pause of 20 ms is sent at once, what follows in groups. It is used by
    several threads: those of the node's code, and the one in which its lane hears of the driver.

    Args:
        send: Takes a group to the driver; called by one thread at a time, in order. It may wait.
        bounded: Whether the driver says what it has delivered. Else nothing ever waits.

    Attributes:
        token: Of this execution, drawn here.
        count: How many messages there were.
        stopped: The driver wants no more of it.
    """

    __slots__ = (
        "_changed",
        "_closed",
        "_held",
        "_lock",
        "_room",
        "_send",
        "_sent",
        "_stop",
        "_thread",
        "count",
        "stopped",
        "token",
    )

    def __init__(self, send: Callable[[Group], None], *, bounded: bool = True) -> None:
        self.token: str = secrets.token_hex(8)
        self.count: int = 0
        self.stopped: bool = False
        self._send = send
        self._room: float = MOST_UNDELIVERED if bounded else float("inf")
        self._held: list[Message] = []
        self._sent: float = 0.0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], None] | None = None
        self._closed = False

    def say(self, *message: object) -> None:
        """Send this in its turn; wait while too much is undelivered. Once stopped it is dropped."""
        with self._lock:
            while self._room <= 0 and not self.stopped:
                self._flush()
                self._changed.wait()
            if self.stopped or self._closed:
                return
            self._room -= 1
            self._held.append(message)
            if monotonic() - self._sent >= LATE or len(self._held) >= MOST_TOGETHER:
                self._flush()
            elif self._thread is None:
                self._thread = threading.Thread(
                    target=self._send_late, name="flowevents outlet", daemon=True
                )
                self._thread.start()
            elif len(self._held) == 1:
                self._changed.notify_all()

    def delivered(self, count: int) -> None:
        """The driver has delivered so many more messages."""
        with self._lock:
            self._room += count
            self._changed.notify_all()

    def stop(self) -> None:
        """The driver wants no more of it: the code is to stop at its next event."""
        with self._lock:
            if self.stopped:
                return
            self.stopped = True
            self._held.clear()
            self._changed.notify_all()
            stop = self._stop
        if stop is not None:
            stop()

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Have this called, from any thread, when it is to stop; at once where it is already."""
        with self._lock:
            self._stop = stop
            stopped = self.stopped
        if stopped:
            stop()

    def close(self) -> None:
        """Send what waits; nothing comes after that."""
        with self._lock:
            self._stop = None
            self._flush()
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _flush(self) -> None:
        if self._held and not self.stopped:
            held, self._held = self._held, []
            group = Group(self.token, self.count, held)
            self.count += len(held)
            self._send(group)
        self._sent = monotonic()

    def _send_late(self) -> None:
        with self._lock:
            while not self._closed:
                left = self._sent + LATE - monotonic()
                if not self._held:
                    self._changed.wait()
                elif left > 0:
                    self._changed.wait(left)
                else:
                    self._flush()
