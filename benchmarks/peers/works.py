"""What is done on every peer, and what flowevents has to reach."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Work:
    """A work, measured in units of its own.

    Attributes:
        name: Of one unit, as the table says it.
        group: The table to which it belongs.
        about: What is done, and what plain Python does for it.
        memory: Whether the memory that it takes is told too.
    """

    name: str
    group: str
    about: str
    memory: bool = False


@dataclass(frozen=True)
class Target:
    """What one way of flowevents has to reach.

    Attributes:
        way: The name of the way that is judged.
        floor: The most that it may take, as a multiple of plain Python.
        faster: How many times faster than a peer's fastest way it has to be, by the peer's name.
    """

    work: Work
    way: str
    floor: float
    faster: dict[str, float] = field(default_factory=dict)


FLOWS, DISPATCH = "Flows", "Dispatch"


def _dispatch(handlers: int) -> Work:
    count = f"{handlers} handler{'' if handlers == 1 else 's'}"
    return Work(
        f"an event to {count}",
        DISPATCH,
        f"One event is sent again and again to {count}, and the calls are counted. "
        "Plain Python: `for handler in handlers: handler(event)`.",
    )


DISPATCHES = {handlers: _dispatch(handlers) for handlers in (0, 1, 10)}

CHUNK = Work(
    "a chunk, sync",
    FLOWS,
    "A node produces short texts, a consumer counts them. "
    "Plain Python: `for text in generator(): handler(text)`.",
)
ASYNC_CHUNK = Work(
    "a chunk, async",
    FLOWS,
    "The same in async code that never has to wait. "
    "Plain Python: `async for text in generator(): handler(text)`.",
)
AWAITED_CHUNK = Work(
    "a chunk, async, after an await",
    FLOWS,
    "The same, with `await asyncio.sleep(0)` before each text.",
)
STEP = Work(
    "a step of an agent loop",
    FLOWS,
    "Two nodes take turns until a count is reached, nobody listening if not said. "
    "Plain Python: the same `prep`, `exec` and `post` as functions, called in a loop.",
    memory=True,
)
ITEM = Work(
    "an item of a batch",
    FLOWS,
    "A number is squared; the sum of all is checked. Plain Python: a list comprehension over a "
    "function.",
    memory=True,
)
PARALLEL_ITEM = Work(
    "an item of a parallel batch",
    FLOWS,
    "The same, the items in parallel in one event loop or, where said, otherwise. Plain Python: "
    "`asyncio.gather` of all of them.",
    memory=True,
)
QUESTION = Work(
    "a question, in memory",
    FLOWS,
    "A node asks, somebody outside of it answers, the node goes on; the answers are added up. "
    "Plain Python: `generator.send(answer)`.",
)
KEPT_QUESTION = Work(
    "a question, kept in SQLite",
    FLOWS,
    "The same, and at each question the run is stored in a file. Plain Python: `generator.send`, "
    "and an insert with a commit for each.",
)
CONCURRENT = Work(
    "a chunk of 1,000 concurrent runs",
    FLOWS,
    "1,000 runs at once, each with a text of its own, which it gives after each "
    "`await asyncio.sleep(0)`; every run has to hear its own text alone. Setting up the runs "
    "counts. Plain Python: as many tasks, each with an `async for` over a generator.",
    memory=True,
)

WORKS = (
    *DISPATCHES.values(),
    CHUNK,
    ASYNC_CHUNK,
    AWAITED_CHUNK,
    STEP,
    ITEM,
    PARALLEL_ITEM,
    QUESTION,
    KEPT_QUESTION,
    CONCURRENT,
)

TARGETS = (
    Target(CHUNK, "a handler", 6, {"Burr": 3, "LangGraph": 8}),
    Target(CHUNK, "`run_stream`", 6, {"Burr": 3, "LangGraph": 8}),
    Target(ASYNC_CHUNK, "a handler", 4),
    Target(STEP, "nobody listening", 5.5),
    Target(QUESTION, "answered by a handler", 120),
    Target(CONCURRENT, "an observer each", 2.1),
    Target(CONCURRENT, "`run_stream`", 2.1),
)
