"""A chat over a flow, for Gradio: `gr.ChatInterface(chat(flow))`.

The rules of this file:

* `Messages` is a fold from events to what the chat shows. It knows nothing of Gradio.
* A turn is what comes between two messages of the person: to the end of a run, or to its next
  question. What is open at a question is shown again in the next turn, with what it says from there.
* A run is driven while its turn is shown, and only then: one that waits for an answer costs no
  thread. A turn that is left (Stop, or nobody there) cancels it.
* Gradio itself holds what waits for a session, and drops it when the tab is closed. That cancels
  the run, at once, wherever it stands.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flowevents.engine.graph import Plan, plan_of, ways
from flowevents.engine.shape import is_node, node_name, shape_of, why_no_node
from flowevents.errors import GraphError, MissingExtra, Paused, ReplyError, RunCancelled
from flowevents.escape import escape_controls
from flowevents.events import (
    Chunk,
    Event,
    FlowEnd,
    Interrupt,
    ItemEnd,
    NodeEnd,
    Progress,
    Retry,
    describe_error,
)
from flowevents.observers.questions import choices_of, hint, more_wait, parse, wording
from flowevents.opened import Opened, OpenStarts, ends, starts
from flowevents.run import Run, RunOptions

if TYPE_CHECKING:
    from typing import Unpack

try:
    import anyio
    import gradio
except ImportError as _missing:
    raise MissingExtra(
        "A chat in Gradio needs the package gradio, which is not installed. "
        "Install the extra: pip install flowevents[gradio]"
    ) from _missing

__all__ = ["chat"]

logger: Final = logging.getLogger("flowevents")

Message = dict[str, Any]
"""A message of the chat, as of `gr.ChatMessage`."""

_TICK: Final = 1 / 20  # seconds between two updates
_STILL: Final = 20  # ticks after which the same is shown again: then Gradio looks who is there
_SESSIONS: Final = 10_000  # as many as Gradio itself holds
_LOG: Final = 200  # characters beside a step's name


def chat(
    flow: Any,
    *,
    shared: Callable[..., Any] | None = None,
    answer: str | Iterable[str] | None = None,
    **options: Unpack[RunOptions],
) -> Callable[..., AsyncGenerator[list[Message]]]:
    """Return what `gr.ChatInterface` calls for each message: it runs the flow, and shows it.

    A message begins a run, or answers the question at which the session's run waits: as one of
    its choices, else as JSON, else as text. Runs of several people at once need
    `gr.ChatInterface(..., concurrency_limit=None)`.

    Args:
        flow: A flow or a node, sync or async, ours or pocketflow's.
        shared: `shared(message, history)` gives what a run's nodes get. `message` is what Gradio
            gives; `history` holds what was said before, a `role` and a `content` each, without the
            steps. Values of `additional_inputs` follow. By default
            `{"messages": [*history, {"role": "user", "content": message}]}`.
        answer: The paths of the nodes whose chunks are the reply; every other node is a step that
            can be folded. By default the nodes that no other one follows.
        options: As of `Run`, for each run, but no `id` and no `on_pause`.

    Raises `GraphError` where `flow` is no node, and `ValueError` for an `answer` that is no path of
    one, or is missing where each node is followed by another.
    """
    paths = _answers(flow, answer)
    for name in ("id", "on_pause"):
        if name in options:
            raise ValueError(f"chat: {name}={options[name]!r} is not for many runs. Leave it out.")
    seats = gradio.Cache(per_session=True, max_size=_SESSIONS)

    def take_seat(message: Any, history: list[Message], more: tuple[Any, ...]) -> _Talk:
        # Not in `respond`: nobody but Gradio may hold the seat.
        seat: _Seat = next(iter(seats.keys()), None) or _Seat()
        if seat.talk is None or not seat.talk.goes_on(history):
            seat.leave()
            said = _spoken(history)
            state = {"messages": [*said, {"role": "user", "content": message}]}
            if shared is not None:
                state = shared(message, said, *more)
            seat.talk = _Talk(flow, state, Messages(paths), options)
        seats.set(seat)
        return seat.talk

    async def respond(
        message: Any, history: list[Message], *more: Any
    ) -> AsyncGenerator[list[Message]]:
        talk = take_seat(message, history, more)
        async with aclosing(talk.turn(_text(message))) as updates:
            async for messages in updates:
                yield messages

    respond.__name__ = respond.__qualname__ = "chat"  # Gradio names the endpoint after it
    respond.__doc__ = "Send a message, and get what the assistant says and does."
    return respond


# -- runs, as they are talked about -------------------------------------------------------------


class _Seat:
    """Where a session's talk is. Gradio holds it, nobody else, until the tab is closed."""

    def __init__(self) -> None:
        self.talk: _Talk | None = None

    def leave(self) -> None:
        """Cancel what is still under way."""
        if self.talk is not None and self.talk.run is not None:
            # Elsewhere: what its nodes do at the end shall not keep the server waiting.
            threading.Thread(target=self.talk.run.cancel, daemon=True).start()

    __del__ = leave


class _Talk:
    """A run, from the message that began it over questions and answers to its end.

    Attributes:
        run: The run; `None` when it has ended.
    """

    def __init__(self, flow: Any, shared: Any, messages: Messages, options: RunOptions) -> None:
        self._events: deque[Event] = deque()
        observers = [self._events.append, *(options.get("observers") or ())]
        self.run: Run | None = Run(flow, shared, **{**options, "observers": observers})
        self._is_async = shape_of(flow).is_async
        self._messages = messages
        self._asked: Interrupt | None = None

    def goes_on(self, history: Sequence[Message]) -> bool:
        """Whether the next message is an answer: the last one is the question that it asked."""
        last = history[-1] if history else {}
        return self._asked is not None and _metadata(last).get("id") == _question_id(self._asked)

    async def turn(self, text: str) -> AsyncGenerator[list[Message]]:
        """Take a message; gives the messages of the turn as they are from time to time.

        Left before its end it cancels the run.
        """
        run, messages = self.run, self._messages
        assert run is not None
        messages.begin_turn()
        try:
            refusal = self._answer(run, text)
            if refusal is not None:
                messages.say(refusal)
            if refusal is None or _is_expired(self._asked):
                driving = asyncio.create_task(self._drive(run))
                async for _ in self._changes(driving):
                    yield messages.all()
                self._asked = None
                if driving.result() is not None:
                    messages.say(driving.result())
            if run.interrupts:
                self._asked = run.interrupts[0]
                messages.ask(self._asked, len(run.interrupts) - 1)
            else:
                self.run = None
            messages.end_turn()
            yield messages.all()
        except BaseException:
            run.cancel()
            raise

    def _answer(self, run: Run, text: str) -> str | None:
        """Answer the question with what was typed; returns why it is refused."""
        if self._asked is None:
            return None
        reasons = []
        for value in _readings(self._asked, text):
            try:
                run.reply(value, self._asked.id)
            except ReplyError as error:
                reasons.append(str(error))
            else:
                return None
        return reasons[0]

    async def _drive(self, run: Run) -> str | None:
        """Drive the run to its end or its next question; returns what is to be said of its end."""
        try:
            if self._is_async:
                await run.wait_async()
            else:
                await anyio.to_thread.run_sync(run.wait, limiter=anyio.CapacityLimiter(1))
        except Paused:
            pass
        except RunCancelled:
            return "*(cancelled)*"
        except Exception as error:
            logger.error("Run %s failed", run.id, exc_info=error)
            return f"**It failed.**\n\n{_code(describe_error(error))}"
        return None

    async def _changes(self, driving: asyncio.Task[Any]) -> AsyncGenerator[None]:
        """Whenever there is something new to be shown, but not too often."""
        still = 0
        while not driving.done():
            await asyncio.wait([driving], timeout=_TICK)
            still += 1
            if self._events or still == _STILL:
                still = 0
                while self._events:
                    self._messages.take(self._events.popleft())
                yield


def _readings(question: Interrupt, text: str) -> Iterator[Any]:
    """What a typed answer may mean, the likeliest first."""
    for choice in choices_of(question) or ():
        if wording(choice).strip() == text.strip():
            yield choice
    with suppress(msgspec.DecodeError, UnicodeError, RecursionError):
        yield msgspec.json.decode(text)
    yield text
    with suppress(ValueError):
        yield parse(question, text)  # yes for true, the beginning of a choice


def _is_expired(question: Interrupt | None) -> bool:
    return question is not None and question.expires is not None and question.expires <= time.time()


# -- what is shown ----------------------------------------------------------------------------


class _Part(Opened):
    """A flow, a step or an item, and what it has said in this turn.

    Attributes:
        pieces: Its text, in pieces.
        sections: Its items, where it is a batch.
        void: Whether what it said in earlier turns would be void with this attempt.
        log: What stands beside its name.
        end: How it ended.
    """

    __slots__ = ("end", "log", "pieces", "sections", "void")

    parent: _Part | None

    def __init__(self, event: Event, parent: _Part | None) -> None:
        super().__init__(event, parent)
        self.pieces: list[str] = []
        self.sections: list[_Part] = []
        self.void: bool = False
        self.log: str = ""
        self.end: NodeEnd | FlowEnd | None = None

    @property
    def label(self) -> str:
        """What an item is called."""
        label = getattr(self.event, "label", "")
        return escape_controls(label or str(self.items[-1] + 1), one_line=True)

    def title(self) -> str:
        """Its name, with the items of the batches around it."""
        labels = [each.label for each in self.around() if each.kind == "item"]
        name = self.node.rpartition("/")[2]
        return " · ".join([escape_controls(name, one_line=True), *reversed(labels)])

    def around(self) -> Iterator[_Part]:
        """What encloses it, innermost first."""
        outer = self.parent
        while outer is not None:
            yield outer
            outer = outer.parent

    def text(self) -> str:
        """What it has said, its items one after the other."""
        own = "".join(self.pieces)
        said = [f"**{each.label}** {each.text()}" for each in self.sections if each.text()]
        return "\n\n".join([own, *said] if own else said)


class Messages:
    """The messages of the assistant in one turn: a fold over the events of a run.

    Args:
        answer: The paths of the nodes whose chunks are the reply.
    """

    def __init__(self, answer: Iterable[str] = ()) -> None:
        self._answer = frozenset(answer)
        self._open: OpenStarts[_Part] = OpenStarts(_Part)
        self._shown: list[_Part | Message] = []
        self._waits = False

    def begin_turn(self) -> None:
        """Begin with nothing but what is still open."""
        self._waits = False
        self._shown = []
        for part in self._open.by_span.values():
            part.void = part.void or bool(part.pieces)
            part.pieces.clear()
            part.sections.clear()
            self._place(part)

    def end_turn(self) -> None:
        """Nothing more comes in this turn: what is open waits."""
        self._waits = True

    def say(self, text: str) -> None:
        """Add a message of its own."""
        self._shown.append({"role": "assistant", "content": escape_controls(text)})

    def ask(self, question: Interrupt, more: int = 0) -> None:
        """Add a question, with buttons for its choices; `more` others wait for their turn."""
        choices = choices_of(question)
        wanted = hint(question)
        if choices is None and wanted == "yes or no":
            choices = ["yes", "no"]
        remarks = [wanted] if wanted and choices is None else []
        remarks += [more_wait(more)] if more else []
        texts = [wording(question.prompt), *(f"*({each})*" for each in remarks)]
        self.say("\n\n".join(texts))
        asked = self._shown[-1]
        assert isinstance(asked, dict)
        asked["metadata"] = {"id": _question_id(question)}
        if choices is not None:
            asked["options"] = [{"value": wording(each)} for each in choices]

    def take(self, event: Event) -> None:
        """Take the next event of the run."""
        if starts(event):
            self._place(self._open.begin(event))
            return
        part = self._open.find(event)
        if isinstance(event, Chunk):
            self._add(part, event)
        elif isinstance(event, Progress):
            part.log = _count(event.done, event.total, event.label)
        elif isinstance(event, Retry):
            part.pieces.clear()
            part.log = _short(f"again, after {event.error}")
            if part.void:
                part.void = False
                part.pieces.append("*(What it said before that is void.)*\n\n")
        elif ends(event):
            self._end(part, event)

    def all(self) -> list[Message]:
        """The messages, in the order in which what they tell of began."""
        made = (each if isinstance(each, dict) else self._message(each) for each in self._shown)
        return [message for message in made if message is not None]

    def _place(self, part: _Part) -> None:
        """Have it shown: an item of a node in the node, any other item in what is in it."""
        if part.kind != "item":
            if part.node:  # not the run's own flow
                self._shown.append(part)
        elif part.parent is not None and part.parent.kind == "node":
            part.parent.sections.append(part)

    def _add(self, part: _Part, event: Chunk) -> None:
        if event.kind == "output" and isinstance(event.data, str):
            part.pieces.append(event.data)
        elif event.kind == "output":
            part.pieces.append(f"\n\n{wording(event.data)}\n\n")
        elif part.node not in self._answer:
            part.pieces.append(f"\n\n{event.kind}: {wording(event.data)}\n\n")

    def _end(self, part: _Part, event: Event) -> None:
        for each in self._open.close(part):
            each.inside.clear()
        if isinstance(event, ItemEnd):
            if part.parent is not None:
                part.parent.log = _count(event.done, event.total)
        elif isinstance(event, (NodeEnd, FlowEnd)):
            part.end = event
            if event.status != "ok":
                part.log = _short(event.error or event.status)

    def _message(self, part: _Part) -> Message | None:
        text = escape_controls(part.text())
        if part.node in self._answer:
            return {"role": "assistant", "content": text} if text.strip() else None
        waits = part.end is None and self._waits
        metadata: Message = {
            "title": part.title(),
            "id": part.span,
            "status": "pending" if part.end is None and not waits else "done",
        }
        outer = next((each for each in part.around() if each.kind != "item" and each.node), None)
        if outer is not None:
            metadata["parent_id"] = outer.span
        if waits or part.log:
            metadata["log"] = "waits for an answer" if waits else part.log
        if part.end is not None:
            metadata["duration"] = round(part.end.duration, 2)
        return {"role": "assistant", "content": text, "metadata": metadata}


def _count(done: float, total: float | None, label: str = "") -> str:
    count = f"{done:g}" if total is None else f"{done:g}/{total:g}"
    return _short(f"{count} {label}".strip())


def _short(text: str) -> str:
    text = escape_controls(text, one_line=True)
    return text if len(text) <= _LOG else f"{text[: _LOG - 1]}…"


def _code(text: str) -> str:
    """As a block of code in Markdown."""
    return "\n".join(f"    {line}" for line in text.splitlines())


# -- messages as Gradio has them ------------------------------------------------------------------


def _question_id(question: Interrupt) -> str:
    return f"{question.run_id}/{question.id}"


def _metadata(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return message.get("metadata") or {}


def _text(message: Any) -> str:
    """What was typed, also where files may come with it."""
    return message if isinstance(message, str) else str(message.get("text", ""))


def _spoken(history: Iterable[Mapping[str, Any]]) -> list[Message]:
    """What was said, without the steps; a content that is text alone as a string."""
    return [
        {"role": each["role"], "content": _content(each["content"])}
        for each in history
        if "title" not in _metadata(each)
    ]


def _content(content: Any) -> Any:
    parts = content if isinstance(content, list) else []
    texts = [each.get("text") for each in parts if isinstance(each, dict)]
    whole = len(texts) == len(parts) > 0 and all(isinstance(each, str) for each in texts)
    return "\n".join(texts) if whole else content


# -- the nodes of the reply -----------------------------------------------------------------------


def _answers(flow: Any, answer: str | Iterable[str] | None) -> frozenset[str]:
    """The paths of the nodes whose chunks are the reply."""
    if not is_node(flow):
        raise GraphError(f"chat needs a flow or a node, not {flow!r}.{why_no_node(flow)}")
    name = node_name(flow)
    root = plan_of(flow) if shape_of(flow).nests else Plan(flow, name, name)
    nodes = list(_nodes(root, True))
    paths = {plan.path for plan, _ in nodes}
    known = ", ".join(map(repr, sorted(paths)))
    if answer is None:
        last = frozenset(plan.path for plan, is_last in nodes if is_last)
        if not last:
            raise ValueError(
                f"chat: which nodes are the reply? Each is followed by another one. Name them with "
                f"answer=…: {known}."
            )
        return last
    named = frozenset([answer] if isinstance(answer, str) else answer)
    for path in named - paths:
        raise ValueError(f"chat: answer={path!r} is no path of a node; there are {known}.")
    return named


def _nodes(plan: Plan, is_last: bool, around: tuple[Any, ...] = ()) -> Iterator[tuple[Plan, bool]]:
    """The nodes of a graph, and for each whether no other one follows it."""
    if not plan.shape.nests or plan.node in around:
        yield plan, is_last
        return
    for child in plan.children():
        follows = any(successor is not None for _, successor in ways(child.node))
        yield from _nodes(child, is_last and not follows, (*around, plan.node))
