"""Which answers a question takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest

from flowevents import Answer, Ask, AsyncFlow, Node, Reply, ReplyError, Run, RunStateError
from tests.asking.answering import pause
from tests.asking.askers import EachAtOnce, Make, asks
from tests.driving import Driver, Seen


@dataclass
class Point:
    x: int


class Choice(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (bool, True, True),
        (int, 5, 5),
        (float, 5, 5.0),
        (str, "a", "a"),
        (list[int], [1, 2], [1, 2]),
        (Literal["a", "b"], "b", "b"),
        (Point, {"x": 1}, Point(1)),
        (Point, Point(1), Point(1)),
        (Choice, {"name": "a"}, Choice("a")),
        (Choice, Choice("a"), Choice("a")),
        (int | None, None, None),
    ],
)
def test_an_answer_is_converted(either: Driver, kind: Any, value: Any, expected: Any) -> None:
    """To the question's type, as `msgspec.convert` does; its JSON schema is in the event."""
    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(either.flow(asks(either, Ask("a", type=kind))), shared, observers=[seen])
    pause(either, run)
    assert run.interrupts[0].schema == msgspec.json.schema(kind)
    run.reply(value)
    either.wait(run)
    ((given,),) = shared["answers"]
    assert (given, type(given)) == (expected, type(expected))
    assert seen.of(Reply)[0].value == expected


@pytest.mark.parametrize(
    ("asked", "value", "said"),
    [
        (Ask("Ship it?", type=bool), "maybe", "Expected `bool`, got `str`"),
        (Ask("Ship it?", type=bool), 1, "Expected `bool`, got `int`"),
        (Ask("Ship it?", type=int), True, "Expected `int`, got `bool`"),
        (Ask("Ship it?", type=Point), {}, "missing required field `x`"),
        (Ask("Ship it?", type=list[int]), ["a"], "An answer is of type list[int]"),
        (Ask("Ship it?", choices=["yes", "no"]), "maybe", "the choices are 'yes', 'no'"),
        (Ask("Ship it?", choices=[1, 2]), True, "the choices are 1, 2"),
        (Ask("Ship it?", choices=[True]), 1, "the choices are True"),
        (Ask("Ship it?", choices=["1"], type=str), 1, "Expected `str`"),
        (Ask("Ship it?", choices=["1"], type=str), "2", "the choices are '1'"),
        (Ask("Ship it?", choices=[["a"]]), [], "the choices are ['a']"),
    ],
)
def test_a_bad_answer_is_refused(either: Driver, asked: Ask, value: Any, said: str) -> None:
    """At the replier, with the reason; the question stays open, as often as it comes."""
    run = Run(either.flow(asks(either, asked)), {})
    pause(either, run)
    for _ in range(2):
        with pytest.raises(ReplyError) as caught:
            run.reply(value)
        assert isinstance(caught.value, ValueError)
        for part in (repr(value), "'Ship it?'", said):
            assert part in str(caught.value)
    assert len(run.interrupts) == 1
    assert (run.status, either.pull(run)) == ("paused", [])
    either.close(run)


def test_a_question_is_answered_once(driver: Driver, make: Make) -> None:
    """A second answer is refused: while the run is paused, while it goes on, and after its end."""
    run = Run(driver.flow(make("a", "b")), {})
    with pytest.raises(RunStateError, match=r"Cannot reply: run .* is ready"):
        run.reply(1)
    pause(driver, run)
    (asked,) = run.interrupts
    run.reply(1)
    for id in (asked.id, None):
        with pytest.raises(ReplyError, match=f"{asked.id!r} is answered already"):
            run.reply(2, id)
    pause(driver, run)
    with pytest.raises(ReplyError, match="answered already"):
        run.reply(2, asked.id)
    run.reply(2)
    assert driver.wait(run) == "2"
    with pytest.raises(ReplyError, match="answered already"):
        run.reply(3, asked.id)
    with pytest.raises(RunStateError, match=r"Cannot reply: run .* is done"):
        run.reply(3)


@pytest.mark.parametrize("stop", [True, False])
def test_a_question_that_is_settled_while_an_answer_is_looked_at(
    either: Driver, stop: bool
) -> None:
    """By a cancel, or by an answer: no answer is accepted and lost."""

    class Sly:
        def __eq__(self, other: object) -> bool:
            run.cancel() if stop else run.reply("first")
            return True

        __hash__ = None  # type: ignore[assignment]

    shared: dict[str, Any] = {}
    run = Run(either.flow(asks(either, Ask("a", choices=["first"]))), shared)

    async def reply() -> None:
        with pytest.raises(ReplyError, match=r"withdrawn" if stop else r"answered already"):
            run.reply(Sly())

    pause(either, run)
    if either.loop is None:
        with pytest.raises(StopIteration):
            reply().send(None)
    elif not stop:  # there a cancel takes effect later
        either.in_loop(reply())
    run.cancel() if stop else either.wait(run)
    either.settle()
    assert shared.get("answers") == (None if stop else [["first"]])


def test_there_is_no_such_question(driver: Driver, make: Make) -> None:
    """The error says which there are."""
    run = Run(driver.flow(Node()), {})
    driver.pull(run, 1)
    with pytest.raises(ReplyError, match=f"No question is open in run {run.id}"):
        run.reply(1)
    driver.close(run)
    run = Run(driver.flow(make("a")), {})
    pause(driver, run)
    (asked,) = run.interrupts
    for unknown in ("99", "", "no number", "²", "0"):
        with pytest.raises(ReplyError, match=f"no question {unknown!r}. Open are: {asked.id!r}"):
            run.reply(1, unknown)
    assert len(run.interrupts) == 1
    driver.close(run)


def test_which_question_has_to_be_said(loop: Driver) -> None:
    """Where several are open; the error names them. Of one that is left it needs not be said."""
    shared: dict[str, Any] = {"items": list("ab")}
    run = Run(AsyncFlow(EachAtOnce()), shared)
    pause(loop, run)
    with pytest.raises(ReplyError, match=r"Several questions are open.*'1' \('a'\), '2' \('b'\)"):
        run.reply(1)
    with pytest.raises(ReplyError, match="id=1: a question's id is a string"):
        run.reply("as JSON may have it", 1)  # type: ignore[arg-type]
    run.reply("by id", "1")
    run.reply("the only one")
    with pytest.raises(ReplyError, match="answered already"):
        run.reply(1)
    loop.wait(run)
    assert shared["results"] == ["by id", "the only one"]


def test_a_question_says_what_is_wrong_with_it() -> None:
    """Where it is made."""
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"choices": []}, ValueError, "choices is empty"),
        ({"choices": "yes"}, ValueError, "choices='yes' is one text"),
        ({"expires": 0}, ValueError, "expires=0"),
        ({"expires": -1}, ValueError, "expires=-1"),
        ({"expires": float("nan")}, ValueError, "expires=nan"),
        ({"expires": float("inf")}, ValueError, "expires=inf"),
        ({"type": Driver}, TypeError, "cannot be asked for"),
        ({"type": "bool"}, TypeError, "msgspec knows no JSON schema of it"),
        ({"prompt": Ask("b", type=int)}, TypeError, r"the prompt is a question itself, Ask\('b'\)"),
    ]
    for options, error, said in cases:
        with pytest.raises(error, match=said):
            Ask(**{"prompt": "a", **options})
    assert repr(Ask("a", choices=iter([1, 2]))) == "Ask('a')"
    assert Ask("a", choices=iter([1, 2])).choices == [1, 2]
    assert repr(Answer(5)) == "Answer(5)"
    annotated = Annotated[str, msgspec.Meta(examples=["a"])]  # which has no hash
    assert Ask("a", type=annotated).schema == {"type": "string", "examples": ["a"]}


def test_a_question_has_no_subclasses() -> None:
    """A node that yields one would stream it, unseen."""
    with pytest.raises(TypeError, match="Confirm cannot be a class of questions"):
        type("Confirm", (Ask,), {})
