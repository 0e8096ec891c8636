"""What the display knows, as plain data.

A `Run` is a run. It has a `Row` for each of its nodes, which counts all executions of that node's
path, and a `Step` for each start that is open. What has ended and shall stay on the screen is an
`Entry`: a text, a failed attempt, a question, an answer, the tree of a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flowevents.events import (
    Action,
    Event,
    Interrupt,
    ItemStart,
    Progress,
    Reply,
    Retry,
    Status,
)
from flowevents.observers.display.speech import Block, Speech
from flowevents.observers.first_chunk import FirstChunk
from flowevents.opened import Opened, OpenStarts

__all__ = ["Answered", "Asked", "Ended", "Entry", "Row", "Run", "Said", "Step", "Way"]


@dataclass(slots=True, eq=False)
class Row:
    """A node's place in the tree: all executions of one path of a run.

    Attributes:
        name: Its path below the row that it stands under.
        rows: What stands under it, in the order in which it began.
        open: Its executions that are under way, by span.
        started, retries, items: How many executions, void attempts and ended items there were.
        spent: How long the executions that have ended took together, in seconds.
        status: Of the last that ended.
        moved: Its last transition.
    """

    path: str
    name: str
    rows: list[Row] = field(default_factory=list)
    open: dict[int, Step] = field(default_factory=dict)
    started: int = 0
    retries: int = 0
    items: int = 0
    spent: float = 0.0
    status: Status | None = None
    moved: Action | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """The items of a step: how many are open, how many have ended, and of how many.

    Attributes:
        spoke: Whether one of them said something.
    """

    open: int = 0
    done: int = 0
    total: int | None = None
    spoke: bool = False


@dataclass(slots=True, eq=False)
class Way:
    """How far a step says that it is, and when it first said so, on the display's clock."""

    progress: Progress
    seen: float


class Step(Opened):
    """A start that is open: a flow, a node's execution, or an item of a batch.

    Attributes:
        row: Its row, or `None` where the node is not shown.
        seen: When it began, on the display's clock.
        attempt: Which try it is in.
        first: How long the first chunk of the attempt took.
        speech: What the attempt has said.
        batch: The items that it has.
        way: How far it is, where it has said so.
        retry: The last `Retry`, until something follows.
        questions: Those that are open, by id.
    """

    __slots__ = (
        *("attempt", "batch", "first", "questions", "retry"),
        *("row", "seen", "speech", "way"),
    )

    parent: Step | None
    inside: dict[int, Step]

    def __init__(self, event: Event, parent: Step | None) -> None:
        super().__init__(event, parent)
        self.row: Row | None = None
        self.seen: float = 0.0
        self.attempt: int = max(event.attempt, 1)
        self.first: FirstChunk = FirstChunk(event)
        self.speech: Speech = Speech()
        self.batch: Batch = Batch()
        self.way: Way | None = None
        self.retry: Retry | None = None
        self.questions: dict[str, Interrupt] = {}

    @property
    def among(self) -> Batch | None:
        """The items that it is one of, where it is one and the start of its batch is known."""
        event, above = self.event, self.parent
        if above is None or not isinstance(event, ItemStart) or event.parent != above.span:
            return None
        return above.batch

    @property
    def is_crowded(self) -> bool:
        """Whether other items are under way beside one that it belongs to."""
        step: Step | None = self
        while step is not None:
            if (batch := step.among) is not None and batch.open > 1:
                return True
            step = step.parent
        return False


@dataclass(slots=True, eq=False)
class Run:
    """A run that is open, or has ended.

    Attributes:
        number: Its place among the runs that the display has seen.
        root: The row of its own flow.
        rows: Every row by path; `None` for a node that is not shown.
        opens: Every step that is open.
        seen: When its first event came, on the display's clock.
        error: The last error that is told; what it went on to fail is not told of it again.
        asked: The questions that came, by `seq`.
        late: Texts of steps that are ok and wait for their `Action`, by span.
    """

    id: str
    number: int
    root: Row
    seen: float
    rows: dict[str, Row | None] = field(default_factory=dict)
    opens: OpenStarts[Step] = field(default_factory=lambda: OpenStarts(Step))
    error: str | None = None
    asked: set[int] = field(default_factory=set)
    late: dict[int, tuple[Step | None, Said]] = field(default_factory=dict)

    @property
    def steps(self) -> dict[int, Step]:
        """Every step that is open, by span."""
        return self.opens.by_span


@dataclass(slots=True, eq=False)
class Entry:
    """Something that stays on the screen.

    Attributes:
        run: The number of its run where several are watched, otherwise 0.
        node, items: Where it belongs.
    """

    run: int
    node: str
    items: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Said(Entry):
    """What an attempt said, and how it ended: `void` where a retry followed.

    Attributes:
        first: Seconds from the attempt's beginning to its first chunk, as of `FirstChunk`.
        rate: Chunks of text per second.
        moved: The transition that followed.
        so_far: It goes on: a question has come up.
    """

    blocks: list[Block]
    status: Status | None
    duration: float | None = None
    error: str | None = None
    first: float | None = None
    rate: float | None = None
    retry: Retry | None = None
    moved: Action | None = None
    so_far: bool = False


@dataclass(slots=True, eq=False)
class Asked(Entry):
    """A question.

    Attributes:
        about: What was said before it, and is not shown yet.
        waiting: How many other questions wait for their turn, when it is shown.
    """

    question: Interrupt
    about: Said | None = None
    waiting: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Its run and id."""
        return self.question.run_id, self.question.id


@dataclass(slots=True, eq=False)
class Answered(Entry):
    """The answer that a question took."""

    reply: Reply


@dataclass(slots=True, eq=False)
class Ended(Entry):
    """A run that has ended, or that the display no longer watches: its tree."""

    whole: Run
