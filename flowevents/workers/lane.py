"""The way of items to the workers of one kind of engine, and of their messages back.

A lane is made for one step of one run, and used by one thread: that of the run, or its loop's. To
add another kind of engine, write a class that does what `Lane` says, in a file of its own, and name
it in `executor.py`. It decides nothing about items: the driver (`engine/executors.py`) does that.

* `submit(ticket, work, task)` begins an execution somewhere and returns at once a PEP 3148 future,
  or what has `cancel`, `done`, `exception`, `result` and `add_done_callback` like one. There the
  lane makes an `Outlet`, calls `work(task, outlet)`, which closes it, and has the future return the
  `Outcome` that this returns. `work` raises nothing, and is pickled by its name.
  A ticket is a number of this lane, used once: an item that is submitted again has another.
* Each `Group` that the outlet sends gets to the driver by `arrived(ticket, group)`, from any
  thread, in order, as soon as it comes. What gets lost on the way is noticed by its numbers, and
  the item runs again; what comes of two executions of one ticket is told apart by their tokens.
* `deliver(ticket, count)`: so many messages of this ticket were delivered. It gets to
  `Outlet.delivered`, so that a worker whose driver is slow waits. Only a lane that cannot do this
  at all, as its messages come with the result, has an outlet with `bounded=False`.
* `stop(ticket)`: the worker is to stop. It gets to `Outlet.stop`, also where the worker begins only
  afterwards; it does not kill. The future ends when the worker works no more. It is called where
  `future.cancel()` was in vain, and is harmless after the end.
* A lost worker is an exception of the future, or of `submit`, for which `is_loss(error)` is true.
  The item is submitted again, as another ticket. Where an engine runs a lost item again by itself
  the other token says it; better it does not (`max_retries=0`).
* `breaks` says whether one lost worker takes all others with it, as in a process pool. Then all
  futures are waited for, before `blamed(tickets)` gives those of the lost tickets whose own workers
  have died first, and `renew()` makes anew what is broken; it returns `False` where that was not
  made by the lane. A lane without that returns all, and `True`.
* `close(given_up)`: nothing more comes. With `given_up` some executions have not ended in time:
  what the lane has made itself it may kill. Whatever it has begun (threads, sockets, actors) ends.

In an async run `blamed`, `renew` and `close`, which may wait, are called in another thread, while
nothing else of the lane is.

`pickles` says whether a task goes to another process: then its node and its item are pickled
beforehand, so that what cannot be is an error before anything is submitted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from flowevents.workers.parcels import Group, Task, Work

__all__ = ["Arrived", "Lane", "Made", "Runner"]

Arrived = Callable[[int, Group], None]
"""Takes a group of the execution with this ticket to the driver, from any thread."""

Made = Callable[[], Any]
"""Makes an executor, which the lane then shuts down."""


class Lane(Protocol):
    """See the head of this file."""

    pickles: bool
    breaks: bool

    def submit(self, ticket: int, work: Work, task: Task) -> Any:
        """Begin an execution of an item; return its future."""
        ...

    def deliver(self, ticket: int, count: int) -> None:
        """So many more of its messages were delivered."""
        ...

    def stop(self, ticket: int) -> None:
        """Its worker is to stop at its next event."""
        ...

    def is_loss(self, error: BaseException) -> bool:
        """Whether what a future raised says that its worker is gone, or may be."""
        ...

    def renew(self) -> bool:
        """Make anew what a loss has broken; whether something can be submitted again."""
        ...

    def blamed(self, tickets: Collection[int]) -> Collection[int]:
        """Return those of the lost tickets whose own worker has died."""
        ...

    def close(self, given_up: bool) -> None:
        """End all that the lane has begun."""
        ...


class Runner(Protocol):
    """What is no PEP 3148 executor, but can be given as `executor=`: it makes its lanes itself."""

    def flowevents_lane(self, arrived: Arrived) -> Lane:
        """Return the lane of one step."""
        ...
