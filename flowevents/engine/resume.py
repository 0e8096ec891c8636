"""Where a run goes on: the frames of its walk, from where its log stands.

No code of a node runs here, but that of copies, as in the walk.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from flowevents.engine.frame import Frame, Passes, Place
from flowevents.engine.items import begin_items, item_of
from flowevents.engine.notes import Notes
from flowevents.engine.plan import Plan
from flowevents.engine.state import State
from flowevents.engine.step import Items, Step
from flowevents.engine.steps import begin_pass
from flowevents.errors import GraphError
from flowevents.journal.standing import Scope, Standing

__all__ = ["fork", "go_on"]


def go_on(state: State, plan: Plan, standing: Standing) -> list[Frame]:
    """Return the frames of a run of this flow at the place where its log stands.

    Raises `GraphError` where the graph lacks a node that the log still needs.
    """
    state.delivery.begin_after(standing.seq)
    state.questions.go_on(standing.asked, standing.open_questions())
    return _frames(state, plan, standing, anew=False)


def fork(state: State, plan: Plan, standing: Standing) -> list[Frame]:
    """Return the frames of a run that begins where the log of another one stands; see `go_on`."""
    return _frames(state, plan, standing, anew=True)


def _frames(state: State, plan: Plan, standing: Standing, *, anew: bool) -> list[Frame]:
    recorder, root = state.options.recorder, standing.root
    assert recorder is not None
    assert root is not None
    state.count_steps(standing.steps)
    return _Resumed(state, recorder.notes, anew).frames(root, plan, plan.node)


class _Resumed:
    """Builds the frames of one run that goes on.

    Args:
        state: The run's.
        notes: Those of its journal.
        anew: In a fork: what was open begins again, with numbers of its own.
    """

    __slots__ = ("_anew", "_notes", "_state")

    def __init__(self, state: State, notes: Notes, anew: bool) -> None:
        self._anew = anew
        self._state = state
        self._notes = notes

    def frames(
        self, scope: Scope, plan: Plan, flow: Any, place: Place | None = None
    ) -> list[Frame]:
        """Return the frames of an open flow, and of what is open in it, outermost first.

        Raises `GraphError` where the graph lacks a node that the log still needs.
        """
        frame = Frame(plan, flow, self._step(scope, plan), place)
        if scope.prep is UNSET:
            frame.cursor.stands = "enter" if self._anew else "prep"
            return [frame]
        frame.cursor.anew.append(scope)
        prep_res = frame.cursor.prep_res = self._notes.read(scope.prep)
        if plan.shape.batch is None:
            frame.begin_pass()
            return self._stand(frame, scope)
        if plan.shape.batch == "parallel":
            frame.cursor.stands = "leave"
            frame.passes = self._passes(frame, scope, prep_res)
            return [frame]
        frame.begin_batch(prep_res)
        items = frame.batch
        assert items is not None
        items.done, items.rest = scope.cursor.done, iter(prep_res[scope.cursor.begun :])
        frame.cursor.index = scope.cursor.begun
        inner = scope.child()
        if inner is None:  # between two items
            return [frame]
        item = items.current = self._item(frame.step, items, inner)
        frame.cursor.params = {**flow.params, **prep_res[inner.index]}
        frame.span, frame.items = item.span, item.items
        frame.next = frame.place_of(flow.start_node)
        return self._stand(frame, inner)

    def _passes(self, frame: Frame, scope: Scope, batch: list[Any]) -> Passes:
        """The items of a parallel batch flow that are still to run."""
        items = begin_items(frame.step, batch)
        items.done = scope.cursor.done
        begun: dict[int, list[Frame]] = {}
        inside = scope.inside if not self._anew else {**scope.inside, **scope.broken}
        for each in inside.values():
            inner = Frame(frame.plan, frame.flow, self._item(frame.step, items, each))
            inner.cursor.anew.append(each)
            inner.begin_pass({**frame.flow.params, **batch[each.index]})
            begun[each.index] = self._stand(inner, each)
        rest = (
            [begin_pass(frame, items, index, params)]
            for index, params in enumerate(batch)
            if index not in begun and index not in scope.finished
        )
        return Passes([begun[index] for index in sorted(begun)], rest)

    def _stand(self, frame: Frame, scope: Scope) -> list[Frame]:
        """Have a frame that is at the beginning of a pass stand where the log does."""
        if scope.cursor.action is not UNSET:
            frame.cursor.action = self._notes.read(scope.cursor.action)
        if self._anew:
            self._leave_out(frame, scope)
        for path, count in scope.cursor.visits.items():
            visited = self._plan(frame, path)
            if visited is not None:
                place = frame.place_of(visited.node)
                assert place is not None
                place.count = count
        inner = scope.child()
        if inner is not None:
            place = self._place(frame, inner.node)
            step = self._step(inner, place.plan)
            if inner.kind == "flow":
                flow = place.plan.copy(frame.cursor.params, step)
                return [frame, *self.frames(inner, place.plan, flow, place)]
            self._notes.remember(inner.lose())
            frame.resumed = step, place
        elif scope.ended is not None:
            event = scope.ended
            place = self._place(frame, event.node)
            step = Step(self._state, place.plan, event.span, event.items, event.step, event.attempt)
            step.open = False
            frame.resumed = step, place
        elif scope.cursor.target is not UNSET:
            frame.next = (
                None if scope.cursor.target is None else self._place(frame, scope.cursor.target)
            )
        return [frame]

    def _leave_out(self, frame: Frame, scope: Scope) -> None:
        """Have a node that was open begin again, and say where one leads that has ended."""
        if scope not in frame.cursor.anew:
            frame.cursor.anew.append(scope)
        inner = scope.child()
        if inner is not None and inner.kind == "node":
            scope.inside.clear()
            scope.cursor.visits[inner.node] -= 1
            scope.cursor.target = inner.node
        elif scope.ended is not None:
            place = self._place(frame, scope.ended.node)
            step = Step(self._state, place.plan, 0, scope.items, 0)
            node = place.plan.copy(frame.cursor.params, step)
            following = frame.follow(node, frame.cursor.action)
            scope.ended = None
            scope.cursor.target = None if following is None else frame.plan.child(following).path

    def _step(self, scope: Scope, plan: Plan) -> Step:
        step = Step(self._state, plan, scope.span, scope.items, scope.step, scope.tried.attempt)
        step.began = self._state.options.clock.monotonic()
        if self._anew:
            step.span, step.open = 0, False
        return step

    def _item(self, step: Step, items: Items, scope: Scope) -> Step:
        items.index = -1
        item = item_of(step, items, scope.span, scope.index, scope.tried.attempt)
        item.began = self._state.options.clock.monotonic()
        if self._anew:
            item.span, item.open = 0, False
        return item

    def _plan(self, frame: Frame, path: str) -> Plan | None:
        return next((each for each in frame.plan.children() if each.path == path), None)

    def _place(self, frame: Frame, path: str) -> Place:
        plan = self._plan(frame, path)
        if plan is None:
            known = ", ".join(repr(each.path) for each in frame.plan.children())
            raise GraphError(
                f"Run {self._state.options.run_id} cannot go on: its log stands at node {path!r}, "
                f"which flow {frame.plan.name!r} does not have. It has {known or 'no nodes'}."
            )
        place = frame.place_of(plan.node)
        assert place is not None
        return place
