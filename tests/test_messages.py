"""What the package says beside its events: where it points, and that it is escaped."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import pocketflow as released
import pytest

from flowevents import (
    Action,
    Ask,
    AskNode,
    AsyncFlow,
    AsyncNode,
    Flow,
    FlowEventsError,
    Node,
    Run,
    RunCancelled,
    StreamNode,
    observe,
    read_events,
    signals,
)
from flowevents.testing import check_events
from tests.flows.steps import Step
from tests.hostile import CONTROLS, HOSTILE
from tests.test_display import picture
from tests.watching import in_loop

pocketflow: Any = released


def warned(run: Callable[[], object]) -> list[warnings.WarningMessage]:
    """What it warns of, by the filters that a program begins with."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        run()
    return caught


def line_of(function: Any) -> int:
    """Where it begins."""
    line: int = function.__code__.co_firstlineno
    return line


# -- an action that nothing follows ---------------------------------------------------------------


class Decide(Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return shared.get("action")


class AsyncDecide(AsyncNode):
    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return shared.get("action")


class Theirs(pocketflow.Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return shared.get("action")


class NoPost(Node):
    """Returns nothing."""


def flow_of(first: Any, kind: Any = Flow) -> Any:
    """A flow in which that node is followed by others."""
    first - "search" >> Step("end", name="Search")
    first - "answer" >> Step("end", name="Answer")
    return kind(start=first)


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (None, "'Decide' returned None from post. Is a `return` missing?"),
        ("serach", "'Decide' returned 'serach' from post. Did you mean 'search'?"),
        (" ANSWER\n", "'Decide' returned ' ANSWER\\n' from post. Did you mean 'answer'?"),
        ("x", "'Decide' returned 'x' from post. To end there is a successor, too"),
        (7, "'Decide' returned 7 from post. To end there"),
    ],
)
def test_an_unknown_action_is_told_each_time_with_its_node_and_cause(
    action: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a warning at the line of `post`, and on the logger."""
    flow = flow_of(Decide())
    for _ in range(2):
        (said,) = warned(lambda: flow.run({"action": action}))
        assert str(said.message).startswith("Flow ends: ")
        assert text in str(said.message)
        assert (said.filename, said.lineno) == (__file__, line_of(Decide.post))
    assert [text in each.getMessage() for each in caplog.records] == [True, True]
    assert {each.name for each in caplog.records} == {"flowevents"}
    assert f"{__file__}, line {line_of(Decide.post)}" in caplog.text


def test_each_kind_of_node_is_told_of() -> None:
    """One without a `post`, async ones, those of pocketflow, and nested flows."""

    def said(node: Any, kind: Any = Flow, action: Any = "serach") -> tuple[str, str, int]:
        flow, shared = flow_of(node, kind), {"action": action}
        if kind is AsyncFlow:
            (one,) = warned(lambda: in_loop(lambda: flow.run_async(shared)))
        else:
            (one,) = warned(lambda: Run(flow, shared).wait())
        return str(one.message).partition("]. ")[2], one.filename, one.lineno

    text, file, _ = said(NoPost())
    assert (text, file) == (
        "Node 'NoPost' returned None from post. It has no post, which returns the action.",
        __file__,
    )
    mean = "Did you mean 'search'?"
    at = line_of(AsyncDecide.post_async)
    text = f"Node 'AsyncDecide' returned 'serach' from post. {mean}"
    assert said(AsyncDecide(), AsyncFlow) == (text, __file__, at)
    text = f"Node 'Theirs' returned 'serach' from post. {mean}"
    for kind in (Flow, pocketflow.Flow):
        assert said(Theirs(), kind) == (text, __file__, line_of(Theirs.post))
    text, file, _ = said(Flow(start=Decide()))
    assert (text, file) == (f"Flow 'Flow' ended by 'serach'. {mean}", __file__)


def test_where_nobody_logs_it_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    """What a program without a handler sees is the warning alone."""
    logger = logging.getLogger("flowevents")
    try:
        logger.propagate = False  # pytest's own handlers are at the root
        with pytest.warns(UserWarning, match="Flow ends"):
            flow_of(Decide()).run({})
    finally:
        logger.propagate = True
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("action", "known"),
    [("search", True), (None, False), ("serach", False), ("stop", True)],
)
def test_its_event_says_whether_it_is_known(action: str | None, known: bool) -> None:
    """Also of a flow with a route of its own, and where `None` is the successor."""

    class Routed(Flow):
        def get_next_node(self, curr: Any, action: Any) -> Any:
            return curr.successors.get(action, curr.successors.get("search"))

    for kind in (Flow, pocketflow.Flow, Routed):
        flow = flow_of(Decide(), kind)
        flow.start_node.successors["stop"] = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            events = list(Run(flow, {"action": action}))
        check_events(events)
        assert next(each.known for each in events if isinstance(each, Action)) is known
    assert [each.known for each in Run(Step("any"), {}) if isinstance(each, Action)] == [True]


def test_the_display_shows_that_it_is_not_known() -> None:
    """Beside the end that it led to."""
    for action, shown in (("serach", "serach: no successor"), (None, "None: no successor")):
        with pytest.warns(UserWarning, match="Flow ends"):
            events = list(Run(flow_of(Decide()), {"action": action}))
        assert f"→ end ({shown})" in picture(events)


# -- where warnings point -------------------------------------------------------------------------


class AsyncExec(Node):
    async def exec(self, prep_res: Any) -> None:
        """Nobody awaits it."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        exec_res.close()


class Later(Node):
    kept: ClassVar[list[Any]] = []

    def exec(self, prep_res: Any) -> None:
        self.kept.append(self)


def emit_later() -> None:
    """Publish when the step has ended."""
    Flow(start=Later()).run({})
    Later.kept.pop().emit("late")


def drop_a_stream() -> None:
    """Never iterate over it."""
    StreamNode().run_stream({})


def overwrite() -> None:
    """Give an action a second successor."""
    first = Step()
    first >> Step()
    first >> Step()


def run_with_successors() -> None:
    """Run a node alone that has some."""
    first = Step()
    first >> Step()
    first.run({})


def run_async_with_successors() -> None:
    """The same in a loop."""
    first = AsyncDecide()
    first >> Step()

    async def main() -> None:
        await first.run_async({})

    in_loop(main)


def run_nothing() -> None:
    """Run a flow that has no start."""
    Flow().run({})


def run_nothing_in_a_loop() -> None:
    """The same in a loop."""

    async def main() -> None:
        await AsyncFlow().run_async({})

    in_loop(main)


@pytest.mark.parametrize(
    ("act", "text", "function"),
    [
        (lambda: AsyncExec().run({}), "has an async exec", AsyncExec.exec),
        (emit_later, "published an event after", emit_later),
        (drop_a_stream, "was never iterated", drop_a_stream),
        (overwrite, "Overwriting successor", overwrite),
        (run_with_successors, "won't run successors", run_with_successors),
        (run_async_with_successors, "won't run successors", run_async_with_successors),
        (run_nothing, "has no start node", run_nothing),
        (run_nothing_in_a_loop, "has no start node", run_nothing_in_a_loop),
    ],
)
def test_a_warning_points_at_the_users_line(act: Any, text: str, function: Any) -> None:
    """Never into the package, also in a loop."""
    (said,) = warned(act)
    assert text in str(said.message)
    assert said.filename == __file__
    assert 0 <= said.lineno - line_of(function) <= 10


# -- text that a model has written ----------------------------------------------------------------

hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


def assert_harmless(said: str) -> None:
    """It is one line without a control, and can be written."""
    assert not (CONTROLS | set("\n\t\u2028\u2029")) & set(said)
    said.encode()


def name_of(text: str) -> str:
    """The text as a name that a path can hold."""
    return text.replace("/", "").replace("#", "") or "empty"


def named(node: Any, text: str) -> Any:
    """The node with that name."""
    node.node_name = name_of(text)
    return node


def publish_late(text: str) -> None:
    """Publish when the step has ended, in a run of that id."""
    Flow(start=named(Later(), text)).run({}, id=text or None)
    Later.kept.pop().emit("late")


def overwrite_with(text: str) -> None:
    """Give an action a second successor."""
    first = Step()
    first - text >> Step()
    first - text >> Step()


def drop_stream_of(text: str) -> None:
    """Never iterate over it."""
    named(StreamNode(), text).run_stream({}, id=text or None)


WARNS: dict[str, Callable[[str], object]] = {
    "unknown action": lambda text: flow_of(Decide()).run({"action": text or None}),
    "unknown successor": lambda text: Flow(start=followed(text)).run({"action": "unknown"}),
    "unknown in theirs": lambda text: Run(
        flow_of(Theirs(), pocketflow.Flow), {"action": text or None}
    ).wait(),
    "late": publish_late,
    "overwritten": overwrite_with,
    "no start": lambda text: named(Flow(), text).run({}),
    "dropped stream": drop_stream_of,
}


def followed(text: str) -> Any:
    """A node whose only successor has that action."""
    node = Decide()
    node - text >> Step()
    return node


@pytest.mark.parametrize("act", WARNS.values(), ids=WARNS)
@hostile
def test_no_warning_holds_a_control(act: Callable[[str], object], text: str) -> None:
    """Nor does its record on the logger."""
    (said,) = warned(lambda: act(text))
    assert_harmless(str(said.message))


class Fails(Node):
    def exec(self, prep_res: Any) -> None:
        raise ValueError(prep_res)

    def prep(self, shared: Any) -> Any:
        return shared["text"]


def fail_handler(text: str) -> None:
    """Have a handler fail."""

    def fail(event: Any) -> None:
        raise ValueError(text)

    named(Step("end"), text).run({}, observers=[fail], id=text or None)


def fail_redact(text: str) -> None:
    """Have `redact` fail."""

    def fail(value: Any) -> Any:
        raise ValueError(text)

    run = Run(Fails(), {"text": text}, redact=fail, id=text or None)
    with suppress(ValueError):
        list(run)


def fail_unseen(text: str) -> None:
    """Fail in the background, where nobody waits for it."""
    run = Run(named(Fails(), text), {"text": text}, id=text or None).start()
    for thread in threading.enumerate():
        if thread.name == "flowevents run":
            thread.join()
    del run


def fail_cancelled(text: str) -> None:
    """Fail while the run is cancelled."""

    class Cancelled(Node):
        def exec(self, prep_res: Any) -> None:
            run.cancel()
            raise ValueError(text)

    run = Run(named(Cancelled(), text), {}, id=text or None)
    with pytest.raises(RunCancelled):
        run.wait()


@pytest.mark.parametrize("act", [fail_handler, fail_redact, fail_unseen, fail_cancelled])
@hostile
def test_no_log_record_holds_a_control(
    act: Callable[[str], object], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its message is one line, and no line of its traceback looks like a record."""
    act(text)
    formatter = logging.Formatter("%(levelname)s:%(name)s:%(message)s")
    assert caplog.records
    for record in caplog.records:
        assert record.name == "flowevents"
        first, *rest = formatter.format(record).split("\n")
        assert_harmless(first)
        assert not CONTROLS & set("".join(rest))
        assert rest
        assert all(line.startswith("  ") for line in rest)


class Asks(AskNode):
    def question(self, prep_res: Any) -> Ask:
        return Ask("Which?", choices=["yes"])


def reply_with(text: str) -> None:
    """Answer what is no choice."""
    run = Run(Asks(), {}, id=text or None)
    list(run)
    run.reply([text])


def pull_twice(text: str) -> None:
    """Run what has ended."""
    run = Run(Step(), {}, id=text or None)
    run.wait()
    run.reply("more")


def cancel_first(text: str) -> None:
    """Wait for what was cancelled."""
    run = Run(Step(), {}, id=text or None)
    run.cancel()
    run.wait()


def pause_at(text: str) -> None:
    """Ask that, and have nobody who answers."""

    class AskThat(AskNode):
        def question(self, prep_res: Any) -> Ask:
            return Ask(text, choices=[text or "x"])

    named(AskThat(), text).run({}, id=text or None)


def loop_in(text: str) -> None:
    """Go on for ever."""
    node = named(Step(), text)
    node >> node
    Flow(start=node).run({}, max_steps=3, id=text or None)


def end_by(text: str) -> None:
    """Return no action."""
    flow_of(named(Decide(), text)).run({"action": [text]})


ERRORS: dict[str, Callable[[str], object]] = {
    "reply": reply_with,
    "ended": pull_twice,
    "cancelled": cancel_first,
    "paused": pause_at,
    "too many": loop_in,
    "no action": end_by,
    "no node": lambda text: Step().next(text),
    "no start": lambda text: Flow(start=text),
    "no flow": lambda text: Run(text, {}),
    "no observer": lambda text: Step().run({}, observers=[text]),
    "no handler": lambda text: signals.chunk.connect(text),  # type: ignore[arg-type]
    "no signal": lambda text: observe(type("Odd", (), {f"on_{text}": print})()),
    "no option": lambda text: Run(Step(), {}, on_pause=text),  # type: ignore[arg-type]
    "no record": lambda text: list(read_events(io.BytesIO(f'{{"type": "{text}"\n{{'.encode()))),
}


@pytest.mark.parametrize("act", ERRORS.values(), ids=ERRORS)
@hostile
def test_no_error_of_the_package_holds_a_control(act: Callable[[str], object], text: str) -> None:
    """Whatever it says of what it was given."""
    with pytest.raises((FlowEventsError, TypeError, ValueError)) as caught:
        act(text)
    assert_harmless(str(caught.value))
