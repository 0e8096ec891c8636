"""Workers of a Dask cluster, given as `client.get_executor(pure=False)`.

* What workers say comes by a topic of the step's own. A topic has no way back: after so many
  delivered messages the driver sets one of Dask's events, for which a worker waits that is ahead.
* Dask runs again by itself what it has lost, even what had ended. So an execution claims its
  ticket, by one of Dask's locks, before it begins; one that finds it claimed returns at once, which
  says that the first one is lost.
* To stop is Dask's `cancel`: what waits does not begin, what runs looks whether its key is wanted,
  as it is no more when the driver is gone either. Of a cancelled key Dask tells no end, so each
  execution says by the topic that it has ended. Of which nothing was heard yet, the driver claims
  the ticket: where it can, nothing runs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import secrets
import weakref
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from time import monotonic
from typing import Any, Final

from distributed import KilledWorker, get_worker
from distributed.cfexecutor import ClientExecutor

from flowevents.workers.lane import Arrived, Made
from flowevents.workers.outlet import MOST_UNDELIVERED, Outlet
from flowevents.workers.parcels import Group, Outcome, Task, Work

__all__ = ["Dask"]

_TOGETHER: Final = MOST_UNDELIVERED // 4
"""How many delivered messages are told together."""
_LOOKS: Final = 0.05
"""Seconds after which a worker looks whether its key is still wanted."""
_PATIENCE: Final = 1.0
"""Seconds that one call waits for what is delivered."""
_SETTLED: Final = 1.0
"""Seconds after which no worker begins what was cancelled."""


class _Lost(Exception):
    """Dask has run it again, by itself."""


class Dask:
    """The lane of a Dask client's executor. The client, and its cluster, are the user's."""

    pickles = True
    breaks = False

    def __init__(self, executor: Any, arrived: Arrived, made: Made | None) -> None:
        if not isinstance(executor, ClientExecutor):
            raise TypeError(
                f"executor= {executor!r}, which is of Dask, but no executor: give "
                "client.get_executor(pure=False)."
            )
        self._client: Any = executor._client
        self._options = {**executor._kwargs, "pure": False, "retries": 0}
        self._arrived = arrived
        self._executions: dict[int, _Execution] = {}
        self._to_stop: deque[int] = deque()
        self._settled = 0.0  # when nothing can begin any more that was cancelled
        self._topic = f"flowevents-{secrets.token_hex(8)}"
        # The client keeps this handler even when nobody listens any more.
        self._client.subscribe_topic(self._topic, partial(_hear, weakref.ref(self)))

    def submit(self, ticket: int, work: Work, task: Task) -> _Execution:
        """Have the cluster run it."""
        given = self._client.submit(
            run_on_cluster, work, task, self._topic, ticket, **self._options
        )
        execution = self._executions[ticket] = _Execution(given)
        self._in_loop(self._follow, ticket, execution)
        return execution

    def deliver(self, ticket: int, count: int) -> None:
        """Set the event for which its worker waits, if it does."""
        execution = self._executions.get(ticket)
        if execution is None or not execution.works:
            return
        execution.delivered += count
        while execution.delivered >= (execution.told + 1) * _TOGETHER:
            execution.told += 1
            self._in_loop(self._set, _event(self._topic, ticket, execution.told))

    def stop(self, ticket: int) -> None:
        """Cancel its key, together with all that are to stop now."""
        self._to_stop.append(ticket)
        self._in_loop(self._stop)

    def is_loss(self, error: BaseException) -> bool:
        """Whether its worker was lost."""
        return isinstance(error, (_Lost, KilledWorker))

    def renew(self) -> bool:
        """Dask looks after its workers."""
        return True

    def blamed(self, tickets: Collection[int]) -> Collection[int]:
        """All of them: who only waited in a lost worker is not lost."""
        return tickets

    def close(self, given_up: bool) -> None:
        """Listen no more."""
        self._in_loop(self._forget)

    def hear(self, event: tuple[float, bytes]) -> None:
        """Take what a worker says, in the client's loop."""
        ticket, token, first, messages = pickle.loads(event[1])
        execution = self._executions.get(ticket)
        if execution is None:
            return
        execution.heard = True
        if messages is not None:
            self._arrived(ticket, Group(token, first, messages))
        elif execution.done():
            del self._executions[ticket]
        else:
            execution.works = False
            if execution.stopping:
                self._end(ticket, execution, execution.over)

    # -- in the client's loop ---------------------------------------------------------------------

    def _in_loop(self, call: Any, *args: Any) -> None:
        self._client.loop.add_callback(self._tried, partial(call, *args))

    async def _tried(self, call: Any) -> None:
        """Do what concerns nobody any more where the client is closed, or looks for its cluster."""
        try:
            await call()
        except Exception:
            if self._client.status == "running":
                raise

    async def _follow(self, ticket: int, execution: _Execution) -> None:
        """Wait for its end; let go of the result, which Dask would make again where it got lost."""
        given, ended = execution.given, partial(self._end, ticket, execution)
        try:
            outcome: Outcome | None = await given
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            if not execution.stopping:
                ended(execution.over)
        except Exception as error:
            ended(execution.set_exception, error)
        else:
            if outcome is None:
                lost = _Lost("Its worker is gone, and Dask has run it again.")
                ended(execution.set_exception, lost)
            else:
                ended(execution.set_result, outcome)

    async def _stop(self) -> None:
        stopping: dict[int, _Execution] = {}
        while self._to_stop:
            ticket = self._to_stop.popleft()
            execution = self._executions.get(ticket)
            if execution is not None and not execution.done():
                execution.stopping = True
                stopping[ticket] = execution
        if not stopping:
            return
        await self._client.cancel([each.given for each in stopping.values()])
        unheard = [ticket for ticket, each in stopping.items() if not each.heard]
        if unheard:
            self._settled = monotonic() + _SETTLED
            for ticket in await self._client.run_on_scheduler(_claim, self._topic, unheard):
                stopping[ticket].works = False
        for ticket, execution in stopping.items():
            if not execution.works:
                self._end(ticket, execution, execution.over)

    def _end(
        self, ticket: int, execution: _Execution, how: Callable[..., None], *args: Any
    ) -> None:
        """End its future, once; let go of Dask's."""
        execution.given = None
        if not execution.works:  # else what it has said still comes
            self._executions.pop(ticket, None)
        if not execution.done():
            how(*args)

    async def _set(self, name: str) -> None:
        await self._client.scheduler.event_set(name=name)

    async def _forget(self) -> None:
        """Have the scheduler forget what it would keep for ever."""
        await asyncio.sleep(max(0.0, self._settled - monotonic()))
        await self._client.run_on_scheduler(_forget_step, self._topic, self._client.id)


class _Execution(concurrent.futures.Future[Outcome]):
    """An execution on the cluster.

    Attributes:
        given: Dask's future of it, as long as it is held.
        delivered, told: How many messages were delivered, and how many times that was told.
        heard: Its worker has said something.
        works: No worker has said that it has ended.
        stopping: Its key was cancelled.
    """

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given
        self.delivered = 0
        self.told = 0
        self.heard = False
        self.works = True
        self.stopping = False

    def cancel(self) -> bool:
        """Leave it to the lane: whether it runs is not known here."""
        return False

    def over(self) -> None:
        """It was cancelled, and no worker runs it."""
        super().cancel()
        self.set_running_or_notify_cancel()


def _hear(lane: weakref.ref[Dask], event: tuple[float, bytes]) -> None:
    listening = lane()
    if listening is not None:
        listening.hear(event)


def _event(topic: str, ticket: int, number: int) -> str:
    """Name the event that says that so many times `_TOGETHER` messages were delivered."""
    return f"{topic} {ticket} {number}"


def _claim(topic: str, tickets: list[int], dask_scheduler: Any) -> list[int]:
    """Claim executions of the step, in the scheduler; return those that nobody had claimed."""
    locks = dask_scheduler.extensions["multi_locks"].locks
    free = [ticket for ticket in tickets if not locks.get(_claim_name(topic, ticket))]
    for ticket in free:
        locks[_claim_name(topic, ticket)] = ["the driver"]
    return free


def _claim_name(topic: str, ticket: int) -> str:
    return f"{topic} {ticket}"


def _forget_step(topic: str, client: str, dask_scheduler: Any) -> None:
    """Runs in the scheduler: its topic, which keeps 1,000 groups, its locks, its events."""
    dask_scheduler.unsubscribe_topic(topic, client)
    dask_scheduler._broker._topics.pop(topic, None)
    locks = dask_scheduler.extensions["multi_locks"]
    events = dask_scheduler.extensions["events"]
    for kept in (locks.locks, locks.requests, locks.requests_left, events._events):
        for name in [name for name in kept if str(name).startswith(topic)]:
            del kept[name]


# -- in a worker ------------------------------------------------------------------------------


def run_on_cluster(work: Work, task: Task, topic: str, ticket: int) -> Outcome | None:
    """Run an item in a worker of a cluster; `None` where it was claimed before."""
    teller = _Teller(get_worker(), topic, ticket)
    if not teller.begin():
        return None
    try:
        return work(task, teller.outlet)
    finally:
        teller.end()


class _Teller:
    """The way of one execution to its driver, in a thread of a worker."""

    def __init__(self, worker: Any, topic: str, ticket: int) -> None:
        self.outlet = Outlet(self._send)
        self._worker = worker
        self._key = worker.get_current_task()
        self._topic = topic
        self._ticket = ticket
        self._listens_for = 0  # the number of an event
        self._ended = False

    def begin(self) -> bool:
        """Claim the execution; from then on look whether it is wanted."""
        claiming = self._worker.scheduler.multi_lock_acquire(
            locks=[_claim_name(self._topic, self._ticket)],
            id=f"{self._topic} {self.outlet.token}",
            timeout=0,
            num_locks=1,
        )
        claimed: bool = self._in_loop(claiming).result()
        if claimed:
            self._in_loop(self._look())
        return claimed

    def end(self) -> None:
        """Say that it has ended."""
        self._ended = True
        self._tell(self.outlet.count, None)
        if self._listens_for:
            self._in_loop(self._listen_no_more())

    def _send(self, group: Group) -> None:
        self._tell(group.first, group.messages)
        if not self._listens_for and group.first + len(group.messages) > MOST_UNDELIVERED // 2:
            self._listens_for = 1
            self._in_loop(self._listen())

    def _tell(self, first: int, messages: Any) -> None:
        said = (self._ticket, self.outlet.token, first, messages)
        self._worker.log_event(self._topic, pickle.dumps(said, pickle.HIGHEST_PROTOCOL))

    def _in_loop(self, call: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(call, self._worker.loop.asyncio_loop)

    async def _look(self) -> None:
        """Stop when the key is not wanted any more."""
        while not self._ended:
            task = self._worker.state.tasks.get(self._key)
            if task is None or task.state not in ("executing", "long-running"):
                self.outlet.stop()
                return
            await asyncio.sleep(_LOOKS)

    async def _listen(self) -> None:
        """Hear what was delivered."""
        scheduler = self._worker.scheduler
        while not self._ended:
            name = self._event()
            if await scheduler.event_wait(name=name, timeout=_PATIENCE):
                self._listens_for += 1
                self.outlet.delivered(_TOGETHER)
                await scheduler.event_clear(name=name)

    async def _listen_no_more(self) -> None:
        await self._worker.scheduler.event_set(name=self._event())

    def _event(self) -> str:
        return _event(self._topic, self._ticket, self._listens_for)
