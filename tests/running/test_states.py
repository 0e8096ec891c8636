"""The states of a run, and what each allows."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from flowevents import Event, Flow, FlowEnd, Run, RunCancelled, RunStateError, signals
from tests.driving import Driver, Seen, status_of
from tests.running.writers import Step, Write, two_nodes
from tests.stock import Fail


def test_a_run_that_goes_well(driver: Driver) -> None:
    """It is ready, then running, then done, with the action of its last node."""
    run = Run(driver.flow(two_nodes()[0]), {})
    assert (run.status, run.action, run.error) == ("ready", None, None)
    assert driver.pull(run, 1)
    assert (run.status, run.action, run.error) == ("running", None, None)
    assert driver.wait(run) == "next"
    assert (run.status, run.action, run.error) == ("done", "next", None)


def test_a_run_that_fails(driver: Driver) -> None:
    """It is failed, and keeps the node's own exception."""
    run = Run(driver.flow(Fail()), {})
    with pytest.raises(ValueError, match="broken") as caught:
        driver.wait(run)
    assert (run.status, run.action) == ("failed", None)
    assert run.error is caught.value


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_run_cannot_be_copied(again: Callable[[object], object]) -> None:
    """There is one of it: a copy that is dropped would cancel it."""
    run = Run(Flow(Write()), {})
    with pytest.raises(TypeError, match="cannot be copied or pickled: make another Run"):
        again(run)
    run.wait()


def test_a_run_that_is_cancelled(driver: Driver) -> None:
    """It is cancelled, and says so to whoever drives it."""
    run = Run(driver.flow(Write()), {})
    driver.pull(run, 3)
    run.cancel()
    with pytest.raises(RunCancelled, match=run.id):
        driver.wait(run)
    assert run.status == "cancelled"
    assert isinstance(run.error, RunCancelled)


def test_the_status_during_a_run(driver: Driver) -> None:
    """Handlers see a run that is running, also in its last event."""
    seen: list[str] = []

    def look(event: Event) -> None:
        seen.append(run.status)

    run = Run(driver.flow(Step()), {}, observers=[look])
    assert isinstance(driver.pull(run)[-1], FlowEnd)
    assert set(seen) == {"running"}
    assert status_of(run) == "done"


def test_a_loop_that_is_left_at_the_last_event_has_ended_the_run(driver: Driver) -> None:
    """Nothing follows the flow's end, so there is nothing left to cancel."""
    for stop in (Run.cancel, driver.close, driver.inside):
        seen = Seen()
        run = Run(driver.flow(Step()), {}, observers=[seen])
        assert isinstance(driver.pull(run, 5)[-1], FlowEnd)
        stop(run)
        driver.settle()
        assert (run.status, run.action, seen.ends()[-1]) == ("done", "next", "ok")
        assert driver.wait(run) == "next"


def in_state(driver: Driver, status: str) -> Run:
    """A run in that state, with a node still to run where there is one."""
    run = Run(driver.flow(Fail() if status == "failed" else two_nodes()[0]), {})
    if status == "running":
        driver.pull(run, 4)
    elif status == "done":
        driver.wait(run)
    elif status == "failed":
        with pytest.raises(ValueError, match="broken"):
            driver.wait(run)
    elif status == "cancelled":
        run.cancel()
        with pytest.raises(RunCancelled):
            driver.wait(run)
    assert run.status == status
    return run


STATES = ("ready", "running", "done", "failed", "cancelled")
AFTER = {
    "wait": ("done", "done", "done", "failed", "cancelled"),
    "iterate": ("done", "done", "done", "failed", "cancelled"),
    "cancel": ("cancelled", "cancelled", "done", "failed", "cancelled"),
    "close": ("cancelled", "cancelled", "done", "failed", "cancelled"),
    "with": ("cancelled", "cancelled", "done", "failed", "cancelled"),
    "drop a loop": ("running", "running", "done", "failed", "cancelled"),
}
"""What each call makes of a run in each of the `STATES`."""


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize("call", AFTER)
def test_every_call_in_every_state(driver: Driver, call: str, status: str) -> None:
    """The table: what is legal moves the run on, what is not names the call and the state."""
    run = in_state(driver, status)
    error = run.error
    calls: dict[str, Callable[[], object]] = {
        "wait": lambda: driver.wait(run),
        "iterate": lambda: driver.pull(run),
        "cancel": run.cancel,
        "close": lambda: driver.close(run),
        "with": lambda: driver.inside(run),
        "drop a loop": lambda: driver.pull(run, 1),
    }
    ended = status in ("done", "failed", "cancelled")
    if ended and call in ("iterate", "drop a loop"):
        said = f"Cannot iterate over it: run {run.id} is {status}"
        with pytest.raises(RunStateError, match=said):
            calls[call]()
    elif call == "wait" and error is not None:
        with pytest.raises(type(error)) as caught:
            calls[call]()
        assert caught.value is error
    else:
        calls[call]()
    driver.settle()
    assert run.status == AFTER[call][STATES.index(status)]
    driver.close(run)


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
def test_nobody_can_listen_to_a_run_that_has_ended(driver: Driver, status: str) -> None:
    """There is nothing left to hear; the error names the state."""
    run = in_state(driver, status)
    with pytest.raises(RunStateError, match=f"Cannot listen to.*{status}"):
        signals.chunk.connect(print, sender=run)


@pytest.mark.parametrize("status", ["ready", "running"])
def test_a_run_that_goes_on_can_be_listened_to(driver: Driver, status: str) -> None:
    """What is connected hears the rest, and is disconnected at the end."""
    run = in_state(driver, status)
    heard: list[Event] = []
    signals.flow_end.connect(heard.append, sender=run)
    driver.wait(run)
    assert [type(event) for event in heard] == [FlowEnd]


def test_a_ready_run_is_cancelled_without_events(driver: Driver) -> None:
    """Nothing began, so nothing ends; who drives it after that is told."""
    seen = Seen()
    for drive in (driver.wait, driver.pull):
        run = Run(driver.flow(Write()), {}, observers=[seen])
        run.cancel()
        assert run.status == "cancelled"
        with pytest.raises(RunCancelled, match=run.id):
            drive(run)
    assert seen.events == []


def test_a_run_says_what_it_is() -> None:
    """Its `repr` names the id, the flow and the state."""
    run = Run(Flow(Step()), {}, id="r1")
    assert repr(run) == "<Run r1 of 'Flow', ready>"
    run.wait()
    assert repr(run) == "<Run r1 of 'Flow', done>"


class RunMachine(RuleBasedStateMachine):
    """One run, with any calls in any order, against the table of its states."""

    in_a_loop = False

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(asyncio.new_event_loop() if self.in_a_loop else None)
        self.seen = Seen()
        self.expected = "ready"
        self.told = False
        self.taken: list[Event] = []
        self.pulled_only = True
        self.run = Run(self.driver.flow(two_nodes()[0]), {}, observers=[self.seen])

    @property
    def over(self) -> bool:
        """Whether its last event was delivered, and was ok: then nothing is left to cancel."""
        ends = self.seen.ends()
        return len(ends) == 3 and ends[-1] == "ok"

    @property
    def ended(self) -> bool:
        return self.over or self.expected in ("done", "cancelled")

    @rule(count=st.integers(1, 4))
    def pull(self, count: int) -> None:
        """Some events, by a loop of their own."""
        if self.told:
            with pytest.raises(RunStateError, match=f"Cannot iterate.*{self.expected}"):
                self.driver.pull(self.run, count)
            return
        before = len(self.taken)
        try:
            self.taken += self.driver.pull(self.run, count)
        except RunCancelled:
            assert self.expected == "cancelled"
            self.told = True
            return
        if self.expected == "cancelled":
            return
        self.told = len(self.taken) - before < count
        self.expected = "done" if self.told else "running"

    @rule()
    def wait(self) -> None:
        """To the end."""
        self.pulled_only = False
        if self.expected == "cancelled":
            with pytest.raises(RunCancelled):
                self.driver.wait(self.run)
        else:
            assert self.driver.wait(self.run) == "next"
            self.expected = "done"
        self.told = True

    @rule(how=st.sampled_from(["cancel", "close", "inside"]))
    def stop(self, how: str) -> None:
        """Cancelled, in one of the ways."""
        if how == "cancel":
            self.run.cancel()
            self.driver.settle()
        elif how == "close":
            self.driver.close(self.run)
        else:
            self.driver.inside(self.run)
        if not self.ended:
            self.expected = "cancelled"
        elif self.over:
            self.expected = "done"

    @precondition(lambda self: self.expected == "running" and not self.over)
    @rule()
    def mix(self) -> None:
        """The other way of driving is refused, and changes nothing."""
        with pytest.raises(RunStateError, match=r"running and began (sync|async)"):
            Driver(None).pull(self.run) if self.in_a_loop else asyncio.run(self.run.wait_async())

    def teardown(self) -> None:
        assert self.run.status == self.expected or self.over
        self.driver.close(self.run)
        if self.over:
            assert (self.run.status, self.run.action) == ("done", "next")
        self.seen.check()
        if self.pulled_only and self.over and self.told:
            assert self.taken == self.seen.events
        if self.driver.loop is not None:
            assert asyncio.all_tasks(self.driver.loop) == set()
            self.driver.loop.close()


class AsyncRunMachine(RunMachine):
    in_a_loop = True


TestSyncRun = RunMachine.TestCase
TestAsyncRun = AsyncRunMachine.TestCase
TestSyncRun.settings = TestAsyncRun.settings = settings(stateful_step_count=12)
