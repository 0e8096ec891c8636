"""A chat over a flow, called as Gradio's ChatInterface calls it; `test_gradio_page.py` has that."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from flowevents import (
    Ask,
    AskNode,
    AsyncFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Flow,
    GraphError,
    Node,
    Run,
    RunCancelled,
    StreamNode,
)
from flowevents.events import Event
from flowevents.gradio import chat
from flowevents.gradio.messages import Message, Messages
from flowevents.testing import check_events
from tests.driving import PATIENCE
from tests.hostile import CONTROLS, HOSTILE

Reply = Callable[..., AsyncGenerator[list[Message]]]


pytestmark = pytest.mark.usefixtures("threads_end")


class Chat:
    """One session: what ChatInterface does with the function, without its page."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.history: list[Message] = []
        self.updates: list[list[Message]] = []

    async def send(self, text: Any, *more: Any) -> list[Message]:
        """The last messages of the answer; all `updates` are kept."""
        self.updates = [update async for update in self._reply(text, list(self.history), *more)]
        self.history += [{"role": "user", "content": text}, *self.updates[-1]]
        return self.updates[-1]


def talk(reply: Reply, *texts: str) -> list[list[Message]]:
    """What each of these messages is answered with."""

    async def session() -> list[list[Message]]:
        chat = Chat(reply)
        return [await chat.send(text) for text in texts]

    return asyncio.run(session())


def steps(messages: list[Message]) -> list[tuple[str, str, str]]:
    """The title, the text and the state of each step."""
    found = [(each, each.get("metadata", {})) for each in messages]
    return [(m["title"], each["content"], m["status"]) for each, m in found if "title" in m]


def said(messages: list[Message]) -> list[str]:
    """The texts of all that is no step."""
    return [each["content"] for each in messages if "title" not in each.get("metadata", {})]


def turns(flow: Any, *answers: Any, answer: str = "") -> list[list[Message]]:
    """What a fold gives for the turns of a run: until each question, and until the end."""
    events: list[Event] = []
    run = Run(flow, {}, observers=[events.append])
    fold, shown = Messages([answer]), []
    for each in (None, *answers):
        if each is not None:
            run.reply(each, run.interrupts[0].id)
        seen = len(events)
        for _ in run:
            pass
        fold.begin()
        fold.go_on()
        for event in events[seen:]:
            fold.take(event)
        if run.interrupts:
            fold.ask(run.interrupts[0], len(run.interrupts) - 1)
        shown.append(fold.shown())
    check_events(events)
    return shown


# -- the fold ---------------------------------------------------------------------------------


class Say(StreamNode):
    """Streams its words."""

    def __init__(self, *words: str, name: str = "Say", **options: Any) -> None:
        super().__init__(**options)
        self.words = words
        self.node_name = name

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield from self.words


def test_a_step_has_its_name_its_text_its_state_and_its_duration() -> None:
    """As Gradio's `metadata` have them."""
    (shown,) = turns(Flow(Say("a", " b")))
    (step,) = shown
    assert step["role"] == "assistant"
    assert step["content"] == "a b"
    assert step["metadata"].pop("duration") >= 0
    assert step["metadata"] == {"title": "Say", "id": 2, "status": "done"}


def test_the_chunks_of_the_answer_are_the_reply() -> None:
    """They stand where the node began, without a title."""
    first, answer, last = Say("think"), Say("the ", "reply", name="Answer"), Say("tidy", name="End")
    first >> answer >> last
    (shown,) = turns(Flow(first), answer="Answer")
    assert [each["content"] for each in shown] == ["think", "the reply", "tidy"]
    assert shown[1] == {"role": "assistant", "content": "the reply"}


def test_a_node_that_says_nothing_is_a_step_but_no_reply() -> None:
    """An empty bubble would say nothing."""
    assert steps(turns(Flow(Node()))[0]) == [("Node", "", "done")]
    assert turns(Flow(Node()), answer="Node") == [[]]


def test_the_nodes_of_a_nested_flow_are_inside_its_step() -> None:
    """By Gradio's `parent_id`."""
    inner = Flow(Say("a"))
    inner.node_name = "Inner"
    (shown,) = turns(Flow(inner))
    assert steps(shown) == [("Inner", "", "done"), ("Say", "a", "done")]
    assert "parent_id" not in shown[0]["metadata"]
    assert shown[1]["metadata"]["parent_id"] == shown[0]["metadata"]["id"]


def test_a_step_that_is_open_has_a_spinner() -> None:
    """And none once it has ended."""
    events: list[Event] = []
    Flow(Say("a", "b")).run({}, observers=[events.append])
    fold, states = Messages(), []
    for event in events:
        fold.take(event)
        states += [(text, state) for _, text, state in steps(fold.shown())]
    assert states == [
        ("", "pending"),
        ("a", "pending"),
        ("ab", "pending"),
        *[("ab", "done")] * 3,
    ]


class Fails(StreamNode):
    """Says something, and fails, so many times."""

    def __init__(self, times: int, **options: Any) -> None:
        super().__init__(**options)
        self.times = times

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield f"attempt {self.cur_retry + 1}"
        if self.cur_retry < self.times:
            raise OSError("gone")


@pytest.mark.parametrize("answer", ["", "Fails"])
def test_retried_text_is_taken_back(answer: str) -> None:
    """Of a step and of the reply; the step says why."""
    (shown,) = turns(Flow(Fails(1, max_retries=2)), answer=answer)
    assert [each["content"] for each in shown] == ["attempt 2"]
    if not answer:
        assert shown[0]["metadata"]["log"] == "again, after OSError: gone"


def test_a_step_that_fails_says_so() -> None:
    """Beside its name."""
    events: list[Event] = []
    with pytest.raises(OSError, match="gone"):
        Flow(Fails(1)).run({}, observers=[events.append])
    fold = Messages()
    for event in events:
        fold.take(event)
    assert fold.shown()[0]["metadata"]["log"] == "OSError: gone"
    assert fold.shown()[0]["metadata"]["status"] == "done"


class Squares(BatchNode):
    """Emits the square of each item."""

    def prep(self, shared: Any) -> list[int]:
        return [2, 3]

    def exec(self, item: int) -> int:
        self.emit(f"{item * item}")
        return item

    def item_label(self, item: int) -> str:
        return f"*{item}*"


def test_the_items_of_a_batch_are_parts_of_its_text() -> None:
    """Each by its label, however they interleave; their number stands beside its name."""
    (shown,) = turns(Flow(Squares()))
    assert steps(shown) == [("Squares", r"**\*2\*** 4" + "\n\n" + r"**\*3\*** 9", "done")]
    assert shown[0]["metadata"]["log"] == "2/2"


class Twice(BatchFlow):
    """Runs its node for two items."""

    def prep(self, shared: Any) -> list[dict[str, int]]:
        return [{}, {}]


def test_the_nodes_of_a_batch_flow_name_their_item() -> None:
    """Beside their own name."""
    assert steps(turns(Twice(Say("a")))[0]) == [("Say · 1", "a", "done"), ("Say · 2", "a", "done")]


class Emits(Node):
    """Emits what is no text, and another kind; and says how far it is."""

    def exec(self, prep_res: Any) -> None:
        self.emit({"a": 1})
        self.emit("b", kind="found")
        self.progress(1, 4, "pages")


def test_what_is_no_text_is_shown_as_json_and_other_kinds_by_name() -> None:
    """In a step; the reply has its output alone."""
    (shown,) = turns(Flow(Emits()))
    assert shown[0]["content"].split("\n\n") == ["", '{"a":1}', "", "found: b", ""]
    assert shown[0]["metadata"]["log"] == "1/4 pages"
    (shown,) = turns(Flow(Emits()), answer="Emits")
    assert shown[0]["content"].strip() == '{"a":1}'


class Asks(StreamNode):
    """Asks in the middle of its text."""

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield "before "
        answer = yield Ask("Go on?", choices=["yes", "no"])
        yield f"after {answer}"
        if self.cur_retry == 0 and answer == "no":
            raise OSError("gone")


def test_what_is_open_at_a_question_goes_on_in_the_next_turn() -> None:
    """Nothing that was said before it is said again, and no spinner stays."""
    begins = Node()
    begins >> Asks()
    first, second = turns(Flow(begins), "yes")
    assert steps(first) == [("Node", "", "done"), ("Asks", "before ", "done")]
    assert first[1]["metadata"]["log"] == "waits for an answer"
    assert said(first) == ["Go on?"]
    assert first[2]["options"] == [{"value": "yes"}, {"value": "no"}]
    assert steps(second) == [("Asks", "after yes", "done")]


@pytest.mark.parametrize("answer", ["", "Asks"])
def test_what_was_said_in_an_earlier_turn_is_said_to_be_void(answer: str) -> None:
    """It cannot be taken back there."""
    _, second, third = turns(Flow(Asks(max_retries=2)), "no", "yes", answer=answer)
    void = "*(What it said before that is void.)*\n\n"
    assert second[0]["content"] == f"{void}before "
    assert third[0]["content"] == "after yes"


class Confirm(AsyncParallelBatchNode):
    """Asks for each of two items at once."""

    async def prep_async(self, shared: Any) -> list[str]:
        return ["a", "b"]

    async def exec_async(self, item: str) -> Any:
        self.emit(await self.ask(f"{item}?", type=bool))


def test_of_several_questions_one_is_asked_at_a_time() -> None:
    """The others wait for their turn, and are said to."""
    first, second, third = talk(chat(AsyncFlow(Confirm())), "Go", "yes", "false")
    assert said(first) == ["a?\n\n*(1 more question waits)*"]
    assert first[-1]["options"] == [{"value": "yes"}, {"value": "no"}]
    assert said(second) == ["**1** true", "b?"]
    assert said(third) == ["**2** false"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_hostile_gets_through(text: str) -> None:
    """Controls are shown as text everywhere; a name is no Markdown, and one line."""

    class Hostile(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            yield text
            self.emit(text, kind=text)
            self.progress(1, 2, text)
            yield Ask(text, choices=[text])
            raise ValueError(text)

    async def session() -> None:
        node = Hostile()
        node.node_name = text
        last = Say("reply")
        node >> last
        first = Chat(chat(Flow(node)))
        shown = [*await first.send("Go"), *await first.send(text)]
        for each in shown:
            metadata = each.get("metadata", {})
            written = [each["content"], *map(str, metadata.values())]
            assert not CONTROLS & set("".join(written))
            assert "\n" not in metadata.get("title", "") + metadata.get("log", "")
            assert "<" not in metadata.get("title", "").replace("\\<", "")

    asyncio.run(session())


# -- a chat -----------------------------------------------------------------------------------


class Repeat(StreamNode):
    """Replies with what it is given."""

    def prep(self, shared: Any) -> Any:
        return shared["messages"]

    def exec_stream(self, messages: Any) -> Iterator[str]:
        yield repr([(each["role"], each["content"]) for each in messages])


class RepeatAsync(AsyncStreamNode):
    """The same, async."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["messages"]

    async def exec_stream_async(self, messages: Any) -> AsyncGenerator[str]:
        yield repr([(each["role"], each["content"]) for each in messages])


@pytest.mark.parametrize("node", [Repeat, RepeatAsync])
def test_a_run_gets_what_was_said(node: type) -> None:
    """By default as messages, without the steps; in a sync flow as in an async one."""
    first, last = Node(), node()
    first >> last
    flow = (AsyncFlow if node is RepeatAsync else Flow)(first)
    one, two = talk(chat(flow), "Hello", "Again")
    assert said(one) == ["[('user', 'Hello')]"]
    reply = ("assistant", said(one)[0])
    assert said(two) == [repr([("user", "Hello"), reply, ("user", "Again")])]
    assert [title for title, _, _ in steps(two)] == ["Node"]


def test_contents_as_the_page_sends_them_are_texts() -> None:
    """Gradio's page gives lists of parts; what holds more than text stays as it is."""
    history: list[Message] = [
        {"role": "user", "content": [{"type": "text", "text": "a"}], "metadata": None},
        {"role": "user", "content": [{"type": "file", "file": {}}], "metadata": None},
    ]

    async def session() -> list[Message]:
        return [shown async for shown in chat(Repeat())("b", history)][-1]

    expected = [("user", "a"), ("user", history[1]["content"]), ("user", "b")]
    assert said(asyncio.run(session())) == [repr(expected)]


def test_shared_is_what_a_function_makes_of_a_message() -> None:
    """It gets the values of other inputs as well."""

    def shared(message: str, history: list[Message], tone: str) -> Any:
        return {"messages": [{"role": tone, "content": message}]}

    async def session() -> list[Message]:
        return await Chat(chat(Repeat(), shared=shared)).send("Hello", "loud")

    assert said(asyncio.run(session())) == ["[('loud', 'Hello')]"]


class Typed(AskNode):
    """Asks for what its type says, and keeps it."""

    def __init__(self, kind: Any = None, choices: list[Any] | None = None, **options: Any) -> None:
        super().__init__()
        self.asked = Ask("What?", type=kind, choices=choices, **options)

    def question(self, prep_res: Any) -> Ask:
        return self.asked

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["answer"] = exec_res


class Tell(StreamNode):
    """Says what was answered."""

    def prep(self, shared: Any) -> Any:
        return shared["answer"]

    def exec_stream(self, answer: Any) -> Iterator[str]:
        yield repr(answer)


def asking(*arguments: Any, **options: Any) -> Flow:
    """A flow that asks, and says what was answered."""
    typed = Typed(*arguments, **options)
    typed >> Tell()
    return Flow(typed)


@pytest.mark.parametrize(
    ("kind", "choices", "text", "answer"),
    [
        (None, ["yes", "no"], " yes ", "yes"),
        (None, [True, 2, None], "2", 2),
        (None, [True, 2, None], "null", None),
        (None, ["1", "2"], "2", "2"),
        (None, ["stop", "go on"], "g", "go on"),
        (None, None, '{"a": [1]}', {"a": [1]}),
        (None, None, "just text", "just text"),
        (int, None, "42", 42),
        (str, None, "42", "42"),
        (bool, None, "yes", True),
        (list[int], None, "[1, 2]", [1, 2]),
        (float | None, None, "", None),
    ],
)
def test_an_answer_is_a_choice_else_json_else_text(
    kind: Any, choices: Any, text: str, answer: Any
) -> None:
    """Whatever the question takes, in this order."""
    _, shown = talk(chat(asking(kind, choices)), "Go", text)
    assert said(shown) == [repr(answer)]
    assert steps(shown) == [("Typed", "", "done")]


def test_a_message_may_have_files() -> None:
    """As a multimodal textbox sends it; its text answers a question, too."""

    async def session() -> list[list[Message]]:
        asks, repeats = Chat(chat(asking(str))), Chat(chat(Repeat()))
        await asks.send("Go")
        picture = {"text": "look", "files": ["picture.png"]}
        return [
            await asks.send({"text": "yes", "files": []}),
            await repeats.send({"text": "look", "files": []}),
            await Chat(chat(Repeat())).send(picture),
        ]

    answered, plain, with_files = asyncio.run(session())
    assert said(answered) == ["'yes'"]
    assert said(plain) == ["[('user', 'look')]"]
    assert "picture.png" in said(with_files)[0]


@pytest.mark.parametrize(
    ("kind", "choices", "text", "reason", "again"),
    [
        (None, ["yes", "no"], "maybe", "the choices are 'yes', 'no'", "What?"),
        (int, None, "many", "Expected `int`", "What?\n\n*(a whole number)*"),
        (list[int], None, '["a"]', "Expected `int`, got `str` - at `$[0]`", "What?\n\n*(a JSON"),
    ],
)
def test_a_refused_answer_is_asked_again_with_the_reason(
    kind: Any, choices: Any, text: str, reason: str, again: str
) -> None:
    """As often as need be; no node runs again."""
    good = "yes" if choices else "1" if kind is int else "[1]"
    first, second, third, last = talk(chat(asking(kind, choices)), "Go", text, text, good)
    for shown in (second, third):
        assert steps(shown) == []
        assert reason in said(shown)[0]
        assert said(shown)[1].startswith(again)
        assert shown[1].get("options") == first[-1].get("options")
    assert steps(last) == [("Typed", "", "done")]


def test_a_question_that_has_expired_is_answered_by_nobody() -> None:
    """The run goes on without, and says how it ended."""

    async def session() -> list[Message]:
        chat_ = Chat(chat(asking(expires=0.01)))
        await chat_.send("Go")
        await asyncio.sleep(0.02)
        return await chat_.send("too late")

    shown = asyncio.run(session())
    assert "expired" in said(shown)[0]
    assert "Expired: " in said(shown)[1]


def test_an_error_is_shown_and_the_chat_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Its traceback is logged for whoever runs the server."""

    class Picky(StreamNode):
        def prep(self, shared: Any) -> str:
            return str(shared["messages"][-1]["content"])

        def exec_stream(self, word: str) -> Iterator[str]:
            yield "so far"
            if word == "bad":
                raise ValueError("<b>no\nway</b>")

    bad, good = talk(chat(Picky()), "bad", "good")
    assert said(bad) == ["so far", "**It failed.**\n\n    ValueError: <b>no\n    way</b>"]
    assert said(good) == ["so far"]
    assert "in exec_stream" in caplog.text


def test_a_message_of_which_shared_makes_nothing_is_an_error_too() -> None:
    """And the chat goes on."""

    def shared(message: str, history: list[Message]) -> Any:
        return {"messages": [{"role": "user", "content": {"ok": "fine"}[message]}]}

    bad, good = talk(chat(Repeat(), shared=shared), "bad", "ok")
    assert said(bad) == ["**It failed.**\n\n    KeyError: 'bad'"]
    assert said(good) == ["[('user', 'fine')]"]


class Slow(AsyncStreamNode):
    """Streams until it is stopped, and says so."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = asyncio.Event()

    async def exec_stream_async(self, prep_res: Any) -> AsyncGenerator[str]:
        try:
            while True:
                yield "."
                await asyncio.sleep(0.001)
        finally:
            self.stopped.set()


def test_who_leaves_cancels_the_run() -> None:
    """As Gradio does for Stop; a step that was open then has no spinner in the next turn."""

    async def session() -> None:
        slow = Slow()
        slow >> Say("end")
        reply = chat(AsyncFlow(slow))
        updates = reply("Go", [])
        shown = await anext(updates)
        await updates.aclose()
        await asyncio.wait_for(slow.stopped.wait(), 10)
        assert steps(shown)[0][2] == "pending"
        updates = reply("Go", shown)
        await anext(updates)
        assert shown[0]["metadata"]["status"] == "done"
        assert shown[0]["metadata"]["log"] == "cancelled"
        await updates.aclose()

    asyncio.run(session())


def test_a_message_that_comes_meanwhile_stops_the_run() -> None:
    """Where Gradio shows no Stop: after a button was pressed."""

    async def session() -> None:
        slow = Slow()
        reply = chat(AsyncFlow(slow))
        first, second = reply("Go", []), reply("Go", [])
        await anext(first)
        await anext(second)
        assert said([update async for update in first][-1])[1] == "*(cancelled)*"
        await second.aclose()

    asyncio.run(session())


def test_a_message_that_comes_while_an_answer_is_worked_on_stops_that() -> None:
    """Gradio's history ends with the question then, which is answered already."""

    async def session() -> None:
        asks, slow = Asks(), Slow()
        asks >> slow
        chat_ = Chat(chat(AsyncFlow(asks)))
        await chat_.send("Go")
        first = chat_._reply("yes", list(chat_.history))
        while not said(await anext(first)):
            pass
        assert said(await chat_.send("no, wait")) == ["Go on?"]
        await asyncio.wait_for(slow.stopped.wait(), PATIENCE)
        assert said([update async for update in first][-1])[-1] == "*(cancelled)*"
        assert "OSError: gone" in said(await chat_.send("no"))[-1]

    asyncio.run(session())


def test_what_is_no_answer_begins_a_new_run() -> None:
    """Where the question is not what was said last: it was undone, cleared or edited away."""

    async def session() -> list[Message]:
        chat_ = Chat(chat(asking(str)))
        await chat_.send("Go")
        chat_.history.clear()
        return await chat_.send("Go")

    assert said(asyncio.run(session())) == ["What?"]


def test_updates_come_twenty_times_a_second_at_most() -> None:
    """However many chunks there are."""

    class Many(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncGenerator[str]:
            for _ in range(200):
                yield "."
                await asyncio.sleep(0.001)

    async def session() -> None:
        chat_ = Chat(chat(Many()))
        begun = asyncio.get_running_loop().time()
        assert said(await chat_.send("Go")) == ["." * 200]
        spent = asyncio.get_running_loop().time() - begun
        assert 1 < len(chat_.updates) <= 20 * spent + 2

    asyncio.run(session())


def test_what_comes_while_an_update_is_sent_is_shown_too() -> None:
    """Also where the run ends meanwhile."""

    class Tells(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncGenerator[str]:
            yield "a"
            await seen.wait()
            yield "b"

    async def session() -> list[Message]:
        async for update in chat(AsyncFlow(Tells()), observers=[ended])("Go", []):
            if said(update) == ["a"]:
                seen.set()
                await over.wait()
                for _ in range(100):  # of the loop, for whoever drives the run
                    await asyncio.sleep(0)
        return update

    def ended(event: Event) -> None:
        if event.signal == "flow_end":
            over.set()

    seen, over = asyncio.Event(), asyncio.Event()
    assert said(asyncio.run(session())) == ["ab"]


def test_plain_code_of_an_async_flow_does_not_hold_up_the_loop() -> None:
    """Others chat meanwhile."""

    class Blocks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "so far"
            yield str(seen.wait(PATIENCE))

    async def session() -> list[Message]:
        async for update in chat(AsyncFlow(Blocks()))("Go", []):
            if said(update) == ["so far"]:
                seen.set()
        return update

    seen = threading.Event()
    assert said(asyncio.run(session())) == ["so farTrue"]


def test_a_run_takes_options() -> None:
    """Observers hear it, and a limit holds."""
    events: list[Event] = []
    loop = Node()
    loop >> loop
    (shown,) = talk(chat(Flow(loop), answer=(), max_steps=3, observers=[events.append]), "Go")
    assert "TooManySteps" in said(shown)[0]
    assert len([each for each in events if each.signal == "node_start"]) == 3


def test_a_run_that_somebody_else_cancels_says_so() -> None:
    """It is no error."""

    class Gone(Node):
        def exec(self, prep_res: Any) -> None:
            raise RunCancelled

    (shown,) = talk(chat(Flow(Gone())), "Go")
    assert len(said(shown)) == 1


# -- what it is given -------------------------------------------------------------------------


def test_what_is_no_flow_is_refused() -> None:
    """Before anybody says anything."""
    with pytest.raises(GraphError, match="chat needs a flow or a node, not 42"):
        chat(42)


def test_an_unknown_answer_is_refused() -> None:
    """With the paths that there are, also those in nested flows."""
    inner = Flow(Say())
    inner.node_name = "Inner"
    Node() >> inner
    with pytest.raises(ValueError, match=r"'Answer' is no path of a node\. The nodes are 'Inner/"):
        chat(Flow(inner), answer="Answer")


def test_each_node_followed_by_another_needs_an_answer() -> None:
    """Nobody could guess which one it is."""
    node = Say("a")
    node - "again" >> node
    with pytest.raises(ValueError, match="each node is followed by another one"):
        chat(Flow(node))
    chat(Flow(node), answer="Say")
    chat(Flow(node), answer=[])


@pytest.mark.parametrize("option", ["id", "on_pause"])
def test_what_is_not_for_many_runs_is_refused(option: str) -> None:
    """Each message would have the same."""
    given: Any = {option: "wait"}
    with pytest.raises(ValueError, match=f"{option}='wait' is not for many runs"):
        chat(Say(), **given)


def test_without_gradio_the_extra_is_named() -> None:
    """Whatever else of it is missing, too."""
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['gradio', 'anyio']))\n"
        "import flowevents.gradio"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install flowevents[gradio]" in done.stderr.splitlines()[-1]
