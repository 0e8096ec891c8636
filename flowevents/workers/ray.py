"""Workers of a Ray cluster: each item is a task that streams what it says, group by group.

The rules of this file:

* A task is a streaming generator. It yields portions: groups of its item's messages, and at last
  its `Outcome`. The item itself runs in a thread beside it, which waits only where 1,000 messages
  are undelivered.
* Ray lets a task be so many portions ahead of what was read here, and a portion is read only when
  the one before was delivered: so the task knows what was, and needs no word from the driver.
* To stop is `ray.cancel`: what waits in Ray never begins, what runs is interrupted, stops at its
  next event, and its stream ends only after that. Who does not stop in time is killed. Ray forgets
  a cancel that overtakes its task, so it is repeated until the stream has ended.
* Ray runs nothing again by itself (`max_retries=0`): a lost worker is an error of the stream.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Final

from flowevents.errors import FlowEventsError, MissingExtra
from flowevents.workers.lane import Arrived, Lane
from flowevents.workers.outlet import MOST_UNDELIVERED, Outlet
from flowevents.workers.parcels import Group, Outcome, Task, Work

try:
    import ray
    from ray import exceptions
except ImportError as _missing:
    raise MissingExtra(
        "RayRunner needs the package ray, which is not installed. "
        "Install the extra: pip install flowevents[ray]"
    ) from _missing

__all__ = ["RayRunner"]

_AHEAD: Final = 2
"""Portions that a task may be ahead."""
_PORTION: Final = MOST_UNDELIVERED // (2 * _AHEAD)
"""With so many messages a portion is full; as a group has no more, all that may be ahead are fewer
than may be undelivered, and a task that waits for that never waits for ever."""
_LOOKS: Final = 0.05
"""Seconds after which a task that says nothing notices that Ray has interrupted it."""
_AGAIN: Final = 0.2
"""Seconds after which a cancel is repeated."""
_KILL: Final = 1.0
"""Seconds in which Ray has killed a worker."""
_OURS: Final[dict[str, Any]] = {
    "num_returns": "streaming",
    "max_retries": 0,
    "retry_exceptions": False,
    "_generator_backpressure_num_objects": _AHEAD,
}
"""The options without which events would come too late, twice or too fast."""
_LOSSES: Final = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,  # what it said was on a node that is gone
)


_Said = Group | Outcome | None
"""What goes from an item to its stream: messages, the end, or `None` where it is to stop."""


class RayRunner:
    """Runs the items of a batch node as tasks of a Ray cluster; needs the extra `ray`.

    It is given as `executor=`. The program itself calls `ray.init()` before the run: alone that
    starts Ray on this machine, `ray.init(address="auto")` joins a cluster. What the node and its
    items need has to be importable there (`runtime_env` can bring it). It may be used by many nodes
    and runs, in any thread.

    Args:
        options: Of a task, as `ray.remote` takes them: `num_cpus`, `resources`, `runtime_env`,
            `scheduling_strategy`, `label_selector` and so on, with Ray's own defaults. So an item
            takes one CPU while it runs. Where it mostly waits, for a model for example, give a
            fraction: with `num_cpus=0.1` ten run for each CPU, each in a process.

    Raises `ValueError` for an option that Ray does not know or take, and `TypeError` for one of
    those that flowevents sets itself: `num_returns`, `max_retries` (a lost item runs again by the
    node's `max_lost`), `retry_exceptions` (the node's `max_retries`).
    """

    def __init__(self, **options: Any) -> None:
        ours = ", ".join(f"{name}=" for name in options if name in _OURS)
        if ours:
            raise TypeError(
                f"RayRunner sets {ours} itself. How often an item is tried is said by the node: "
                "max_retries= for what fails, max_lost= for lost workers."
            )
        self._options = options
        self._remote: Any = ray.remote(**{**options, **_OURS})(_run_on_ray)

    def __repr__(self) -> str:
        return f"RayRunner({', '.join(f'{k}={v!r}' for k, v in self._options.items())})"

    def flowevents_lane(self, arrived: Arrived) -> Lane:
        """Return the way to Ray and back, for one step."""
        if not ray.is_initialized():
            raise FlowEventsError(
                "Ray is not initialised in this process: call ray.init() before the run, or "
                'ray.init(address="auto") to join a cluster that is there.'
            )
        return _Tasks(self._remote, arrived)


class _Tasks:
    """The lane: a thread with a loop follows the streams of all tasks of one step."""

    pickles = True
    breaks = False

    def __init__(self, remote: Any, arrived: Arrived) -> None:
        self._remote = remote
        self._arrived = arrived
        self._tasks: dict[int, _Task] = {}  # whose streams have not ended
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="flowevents ray", daemon=True
        )
        self._thread.start()

    def submit(self, ticket: int, work: Work, task: Task) -> Future[Outcome]:
        """Have Ray run it."""
        sent = self._tasks[ticket] = _Task(self._remote.remote(work, task))
        sent.future.add_done_callback(lambda _: self._tasks.pop(ticket, None))
        asyncio.run_coroutine_threadsafe(sent.follow(ticket, self._arrived), self._loop)
        return sent.future

    def deliver(self, ticket: int, count: int) -> None:
        """Read on."""
        task = self._tasks.get(ticket)
        if task is not None:
            self._loop.call_soon_threadsafe(task.deliver, count)

    def stop(self, ticket: int) -> None:
        """Have Ray cancel it."""
        task = self._tasks.get(ticket)
        if task is not None:
            self._loop.call_soon_threadsafe(task.stop, False)

    def is_loss(self, error: BaseException) -> bool:
        """Whether the worker, its node, or what it has said is gone."""
        return isinstance(error, _LOSSES)

    def renew(self) -> bool:
        """Ray replaces workers by itself."""
        return True

    def blamed(self, tickets: Collection[int]) -> Collection[int]:
        """Each was lost by itself."""
        return tickets

    def close(self, given_up: bool) -> None:
        """Kill the workers of what still runs; end the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for task in list(self._tasks.values()):
            task.stop(True)
        followers = asyncio.all_tasks() - {asyncio.current_task()}
        if followers:
            _, left = await asyncio.wait(followers, timeout=_KILL)
            for follower in left:
                follower.cancel()
            if left:
                await asyncio.wait(left)


class _Task:
    """An execution in the cluster, as this side has it.

    Attributes:
        stream: The generator of what it yields.
        future: Of its outcome. It cannot be cancelled: only the stream's end says that it is over.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.future: Future[Outcome] = Future()
        self.future.set_running_or_notify_cancel()
        self._ahead = 0  # messages that were read and not delivered
        self._drained = False
        self._force = False
        self._changed = asyncio.Event()

    async def follow(self, ticket: int, arrived: Arrived) -> None:
        """Read the stream to its end."""
        outcome: Outcome | None = None
        try:
            async for portion in self.stream:
                for said in await portion:
                    if isinstance(said, Group):
                        self._ahead += len(said.messages)
                        arrived(ticket, said)
                    else:
                        outcome = said
                await self._delivered()
            assert outcome is not None
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(outcome)

    def deliver(self, count: int) -> None:
        """So many messages were delivered."""
        self._ahead -= count
        self._changed.set()

    def stop(self, force: bool) -> None:
        """Have Ray cancel it until it ends; wait no more for what is to be delivered."""
        self._force = force
        if not self._drained:
            self._drained = True
            self._changed.set()
            self._cancel()

    def _cancel(self) -> None:
        if not self.future.done():
            ray.cancel(self.stream, force=self._force)
            asyncio.get_running_loop().call_later(_AGAIN, self._cancel)

    async def _delivered(self) -> None:
        while self._ahead and not self._drained:
            self._changed.clear()
            await self._changed.wait()


def _run_on_ray(work: Work, task: Task) -> Iterator[list[_Said]]:
    """Run an item in a worker of Ray's, and yield what it says, and how it ended.

    Ray interrupts the main thread of a task that is cancelled. That is no error here but a word:
    so no piece of code is left half done, and the stream ends when the item does.
    """
    said: SimpleQueue[_Said] = SimpleQueue()
    outlet = Outlet(said.put)
    before = signal.signal(signal.SIGINT, lambda *_: said.put(None))
    thread = threading.Thread(
        target=lambda: said.put(work(task, outlet)), name="flowevents item", daemon=True
    )
    thread.start()
    undelivered: deque[int] = deque()  # how many messages, a portion each
    try:
        while True:
            portion, count = _taken(said)
            if portion[-1] is None:
                break
            yield portion
            if isinstance(portion[-1], Outcome):
                break
            undelivered.append(count)
            if len(undelivered) > _AHEAD:
                outlet.delivered(undelivered.popleft())
    finally:
        outlet.stop()
        thread.join()
        signal.signal(signal.SIGINT, before)


def _taken(said: SimpleQueue[_Said]) -> tuple[list[_Said], int]:
    """Wait for what is said; take along what has been said since. Return how many messages, too."""
    portion: list[_Said] = []
    count = 0
    while not portion or (count < _PORTION and not said.empty()):
        try:
            portion.append(said.get(timeout=_LOOKS))
        except Empty:
            continue
        if not isinstance(portion[-1], Group):
            break
        count += len(portion[-1].messages)
    return portion, count
