"""`ScriptedModel`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowevents import Chunk, StreamNode
from flowevents.testing import NoReply, ScriptedModel, capture_events, check_events
from tests.checking.runs import together


def test_a_scripted_model_gives_its_replies_in_order() -> None:
    """Whole or streamed, each call takes the next, and the prompts are kept."""
    model = ScriptedModel(["one two", ["th", "ree"], "four"])
    assert model("first") == "one two"
    assert list(model.stream("second")) == ["th", "ree"]
    assert asyncio.run(model.acall({"role": "user"})) == "four"
    assert model.calls == ["first", "second", {"role": "user"}]


@given(st.text())
def test_a_text_is_streamed_in_pieces_that_join_to_it(text: str) -> None:
    """Each piece has a word, and none is lost."""
    model = ScriptedModel([text, text])
    pieces = list(model.stream("?"))
    assert "".join(pieces) == text
    assert len(pieces) >= len(text.split())
    assert all(pieces)
    assert model("again") == text


def test_a_text_is_streamed_word_by_word() -> None:
    """A word keeps the space before it, as the tokens of models do."""
    assert list(ScriptedModel(["a  few\nwords "]).stream("?")) == ["a", "  few", "\nwords", " "]


def test_a_scripted_model_raises_what_it_was_told_to() -> None:
    """An exception instead of a reply, or midway through one."""
    model = ScriptedModel([TimeoutError("slow"), ["a", ConnectionError("cut"), "b"], "fine"])
    with pytest.raises(TimeoutError, match="slow"):
        model("1")
    seen = []
    with pytest.raises(ConnectionError, match="cut"):
        for chunk in model.stream("2"):
            seen.append(chunk)
    assert seen == ["a"]
    assert model("3") == "fine"


def test_a_scripted_model_streams_in_an_event_loop() -> None:
    """Chunks and exceptions come as in plain code; others get their turn in between."""

    async def main() -> list[str]:
        model = ScriptedModel([["a", "b"], ["c", ValueError("cut")], ["x", "y"]])
        seen: list[str] = []

        async def take() -> None:
            async for chunk in model.astream("?"):
                seen.append(chunk)

        await take()
        with pytest.raises(ValueError, match="cut"):
            await take()
        return seen

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_two_async_streams_interleave() -> None:
    """Each gives the other a turn before every chunk."""

    async def main() -> list[str]:
        model = ScriptedModel([["a", "b"], ["x", "y"]])
        seen: list[str] = []

        async def take() -> None:
            async for chunk in model.astream("?"):
                seen.append(chunk)

        await asyncio.gather(take(), take())
        return seen

    assert asyncio.run(main()) == ["a", "x", "b", "y"]


def test_a_scripted_model_says_which_call_has_no_reply() -> None:
    """The error counts the calls and shows the prompt."""
    model = ScriptedModel(["only one"])
    model("first")
    with pytest.raises(NoReply, match="no reply for call 2, with the prompt 'second'"):
        model.stream("second")


def test_replies_are_given_in_a_list() -> None:
    """A single text, whose letters would be replies, is refused."""
    with pytest.raises(TypeError, match="replies='hello' is a single text"):
        ScriptedModel("hello")


def test_replies_can_be_endless() -> None:
    """Any iterable of replies will do."""
    model = ScriptedModel(itertools.repeat("again"))
    assert [model(number) for number in range(3)] == ["again"] * 3


def test_a_scripted_model_serves_many_threads() -> None:
    """Each reply is given once, whoever asks."""
    model = ScriptedModel([str(number) for number in range(400)])
    given: list[str] = []
    together(8, lambda: given.extend([model("?") for _ in range(50)]))
    assert sorted(map(int, given)) == list(range(400))
    assert len(model.calls) == 400


def test_a_scripted_model_works_in_a_streaming_node() -> None:
    """What it streams are the chunks, and a failure midway is a retry."""
    model = ScriptedModel([["Hel", ConnectionError("cut")], "Hello there"])

    class Answer(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            return model.stream("Greet.")

    with capture_events() as caught:
        Answer(max_retries=2).run({})
    check_events(caught)
    chunks = [(event.attempt, event.data) for event in caught if isinstance(event, Chunk)]
    assert chunks == [(1, "Hel"), (2, "Hello"), (2, " there")]
