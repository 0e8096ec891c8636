"""Items in workers: what an event costs that comes from there, what an item does, and the latency.

All on the wall, because much of the work is done by others; and, as all else, on one core.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from queue import Queue
from statistics import median
from typing import Any

from flowevents import BatchNode, Chunk, Event, StreamNode

from .measure import Comparison, Counter, Effort, Work, expect
from .table import Row

ITEMS, EVENTS = 8, 5_000
BOUND = ITEMS * 1_000  # as many events may wait


class Streams(StreamNode, BatchNode):
    """Streams as many tokens as the item says."""

    keep_chunks = False

    def prep(self, shared: Any) -> list[int]:
        items: list[int] = shared["items"]
        return items

    def exec_stream(self, item: int) -> Iterator[str]:
        for _ in range(item):
            yield "token"


class Squares(BatchNode):
    """Hardly does anything."""

    def prep(self, shared: Any) -> range:
        return range(shared["items"])

    def exec(self, item: int) -> int:
        return square(item)

    def post(self, shared: Any, prep_res: range, exec_res: list[int]) -> None:
        expect(exec_res[-1], (len(prep_res) - 1) ** 2, "the last result")


class Now(StreamNode, BatchNode):
    """Streams one token: when it did."""

    def prep(self, shared: Any) -> list[int]:
        return [0]

    def exec_stream(self, item: int) -> Iterator[float]:
        yield time.time()


def square(number: int) -> int:
    return number * number


@dataclass(frozen=True)
class Engine:
    """A pool, as it is, and as flowevents uses it.

    Attributes:
        executor: What a node is given.
        bare_events: Has 8 items tell so many events each in the engine's own way; takes them all.
        bare_items: Runs so many items in the engine's own way.
    """

    executor: Any
    bare_events: Callable[[int], None]
    bare_items: Callable[[int], None]

    def events(self, units: int) -> None:
        """As many events as `bare_events`, to one handler that counts."""
        counter = Counter()
        items = [each_of(units)] * ITEMS
        Streams(executor=self.executor).run({"items": items}, observers=[counter.handler])
        expect(counter.count(), sum(items) + 2 * ITEMS + 5, "the events heard")

    def items(self, units: int) -> None:
        """As many items as `bare_items`, of which nobody hears."""
        Squares(executor=self.executor).run({"items": units})


def each_of(units: int) -> int:
    return max(1, units // ITEMS)


def by_futures(executor: Executor) -> Callable[[int], None]:
    """Items in the own way of every executor."""

    def bare_items(units: int) -> None:
        results = [each.result() for each in [executor.submit(square, n) for n in range(units)]]
        expect(results[-1], (units - 1) ** 2, "the last result")

    return bare_items


def taken(get: Callable[[], object], units: int) -> None:
    """Hand what 8 items put into a queue, each a `None` at its end, to a handler."""
    counter, ended = Counter(), 0
    while ended < ITEMS:
        event = get()
        if event is None:
            ended += 1
        else:
            counter.handler(event)
    expect(counter.count(), each_of(units) * ITEMS, "the events taken")


def put(queue: Any, item: int, count: int) -> None:
    """Tell what an event tells: whose it is, when it was, and what it holds."""
    for number in range(count):
        queue.put((item, number, time.time(), "token"))
    queue.put(None)


@contextmanager
def threads() -> Iterator[Engine]:
    """A thread pool; its own way is a queue with a bound."""
    with ThreadPoolExecutor(ITEMS) as executor:

        def bare_events(units: int) -> None:
            queue: Queue[object] = Queue(BOUND)
            for item in range(ITEMS):
                executor.submit(put, queue, item, each_of(units))
            taken(queue.get, units)

        yield Engine(executor, bare_events, by_futures(executor))


_queue: Any = None


def have(queue: Any) -> None:
    global _queue
    _queue = queue


def put_from_process(item: int, count: int) -> None:
    put(_queue, item, count)


@contextmanager
def processes() -> Iterator[Engine]:
    """A process pool; its own way is a queue of multiprocessing, which its workers inherit."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue(BOUND)
    with ProcessPoolExecutor(
        2, mp_context=context, initializer=have, initargs=(queue,)
    ) as executor:

        def bare_events(units: int) -> None:
            for item in range(ITEMS):
                executor.submit(put_from_process, item, each_of(units))
            taken(queue.get, units)

        yield Engine(executor, bare_events, by_futures(executor))
    queue.close()


@contextmanager
def on_ray() -> Iterator[Engine]:
    """Ray on this machine; its own way is a generator that streams groups of 32, or of 20 ms."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # else it listens on all interfaces
    import ray

    from flowevents import RayRunner

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    remote: Any = ray.remote
    squares = remote(max_retries=0)(square)
    streams = remote(
        num_returns="streaming", max_retries=0, _generator_backpressure_num_objects=1_000 // 32
    )(in_groups)

    def bare_events(units: int) -> None:
        counter = Counter()
        pending: list[Any] = [streams.remote(item, each_of(units)) for item in range(ITEMS)]
        while pending:
            stream: Any
            (stream,), pending = ray.wait(pending, num_returns=1)
            try:
                for event in ray.get(next(stream)):
                    counter.handler(event)
            except StopIteration:
                continue
            pending.append(stream)
        expect(counter.count(), each_of(units) * ITEMS, "the events taken")

    def bare_items(units: int) -> None:
        results = ray.get([squares.remote(number) for number in range(units)])
        expect(results[-1], (units - 1) ** 2, "the last result")

    try:
        yield Engine(RayRunner(), bare_events, bare_items)
    finally:
        ray.shutdown()


@contextmanager
def on_dask() -> Iterator[Engine]:
    """A Dask cluster on this machine; its own way is a topic, in groups of 32, or of 20 ms."""
    import distributed

    make_cluster: Any = distributed.LocalCluster
    make_client: Any = distributed.Client
    with (
        make_cluster(
            host="127.0.0.1", n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        make_client(cluster, set_as_default=False) as client,
    ):

        def bare_events(units: int) -> None:
            queue: Queue[object] = Queue()

            def hear(event: tuple[float, list[object]]) -> None:
                for each in event[1]:
                    queue.put(each)

            topic = f"bench {time.time()}"
            client.subscribe_topic(topic, hear)
            futures = [
                client.submit(log_groups, topic, item, each_of(units), pure=False)
                for item in range(ITEMS)
            ]
            taken(queue.get, units)
            client.gather(futures)
            client.unsubscribe_topic(topic)

        def bare_items(units: int) -> None:
            results = client.gather(client.map(square, range(units), pure=False))
            expect(results[-1], (units - 1) ** 2, "the last result")

        yield Engine(client.get_executor(pure=False), bare_events, bare_items)


def log_groups(topic: str, item: int, count: int) -> None:
    """Tell a topic what `put` tells a queue."""
    from distributed import get_worker

    worker = get_worker()
    for group in in_groups(item, count):
        worker.log_event(topic, group)
    worker.log_event(topic, [None])


def in_groups(item: int, count: int) -> Iterator[list[object]]:
    """What `put` tells."""
    group: list[object] = []
    sent = time.monotonic()
    for number in range(count):
        group.append((item, number, time.time(), "token"))
        if len(group) == 32 or time.monotonic() - sent > 0.02:
            yield group
            group, sent = [], time.monotonic()
    yield group


Open = Callable[[], AbstractContextManager[Engine]]


@dataclass(frozen=True)
class Events:
    """What an event of 8 items costs, against the engine's own way of telling it."""

    work: str
    engine: Open
    target: float = 2  # half as many in a second

    def measure(self, effort: Effort) -> Row:
        """Amounts are microseconds an event."""
        with self.engine() as engine:
            return Comparison(
                self.work,
                self.target,
                ITEMS * EVENTS,
                engine.events,
                engine.bare_events,
                time.perf_counter,
            ).measure(effort)


@dataclass(frozen=True)
class Items:
    """What an item costs of which nobody hears, against the engine alone."""

    work: str
    engine: Open

    def measure(self, effort: Effort) -> Row:
        """Amounts are microseconds an item."""
        with self.engine() as engine:
            return Comparison(
                self.work, None, 2_000, engine.items, engine.bare_items, time.perf_counter
            ).measure(effort)


@dataclass(frozen=True)
class FirstEvent:
    """How old an item's first event is when a handler hears it, in a pool that is there."""

    work: str
    engine: Open
    target: float = 20

    def measure(self, effort: Effort) -> Row:
        """Amounts are milliseconds: the median."""
        late: list[float] = []

        def hear(event: Event) -> None:
            if isinstance(event, Chunk):
                late.append(time.time() - event.data)

        with self.engine() as engine:
            for _ in range(effort.units(100) + 1):
                Now(executor=engine.executor).run({}, observers=[hear])
        of_one = median(late[1:]) * 1e3
        return Row(self.work, "ms", of_one, None, of_one, self.target, len(late), ratio=False)


ENGINES: dict[str, Open] = {"threads": threads, "processes": processes}
if importlib.util.find_spec("distributed") is not None:
    ENGINES["Dask"] = on_dask
if importlib.util.find_spec("ray") is not None:
    ENGINES["Ray"] = on_ray

WORKS: tuple[Work, ...] = tuple(
    work
    for name, engine in ENGINES.items()
    for work in (
        Events(f"an event of 8 items in {name}", engine),
        Items(f"an item in {name}", engine),
        FirstEvent(f"the first event of an item in {name}, median", engine),
    )
)
