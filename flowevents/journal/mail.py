"""What is put into the inbox of a run, and whether it may be."""

from __future__ import annotations

from typing import Any

import msgspec

from flowevents.asking import check_choice
from flowevents.errors import MissingExtra, ReplyError, RunStateError
from flowevents.events import Interrupt
from flowevents.journal.reading import unknown
from flowevents.journal.records import Message, MessageKind
from flowevents.journal.store import Row, Store

__all__ = ["check_answer", "put", "reply", "take_watch", "tell_watch"]


def put(store: Store, run_id: str, kind: MessageKind, *, only_if_alive: bool = False) -> bool:
    """Put a message into a run's inbox. Gives whether it is there.

    Args:
        store, run_id: Where, and whose.
        kind: What is wanted.
        only_if_alive: Only where somebody drives the run.

    Raises `UnknownRun`, and `RunStateError` where the run has ended.
    """

    def add(row: Row | None, now: float) -> tuple[Row, bool]:
        if row is None:
            raise unknown(run_id)
        if row.is_over():
            raise RunStateError(f"Cannot {kind} run {run_id}: it is {row.summary.status}.")
        if only_if_alive and not row.is_alive(now):
            return row, False
        _add(row, kind)
        return row, True

    return store.update(run_id, add)


def reply(store: Store, run_id: str, value: Any, id: str | None) -> None:
    """Put an answer into a run's inbox: to the question of that id, or the one that is open.

    Raises `UnknownRun`, `ReplyError` where the question is not open, or does not take the answer,
    and `MissingExtra`.
    """
    plain = _plain(value)
    checked: Interrupt | None = None

    def add(row: Row | None, now: float) -> tuple[Row, Interrupt | None]:
        if row is None:
            raise unknown(run_id)
        question = open_question(row, id, now)
        if question.schema is not None and question != checked:
            return row, question
        check_choice(question, plain)
        _add(row, "reply", question.id, plain)
        return row, None

    # What checks a schema takes long to import, and others wait for the end of a transaction.
    while (asked := store.update(run_id, add)) is not None:
        check_answer(asked, plain)
        checked = asked


def tell_watch(store: Store, run_id: str) -> None:
    """Have the inbox of a run that somebody drives say, once, that it is watched."""

    def add(row: Row | None, now: float) -> tuple[Row | None, None]:
        if row is not None and row.is_alive(now) and not _is_watched(row):
            _add(row, "watch")
        return row, None

    found = store.find(run_id)
    if found is not None and not _is_watched(found):
        store.update(run_id, add)


def take_watch(store: Store, run_id: str) -> bool:
    """Take that out again. Gives whether it was there."""

    def remove(row: Row | None, _: float) -> tuple[Row | None, bool]:
        told = row is not None and _is_watched(row)
        if row is not None:
            row.inbox = [each for each in row.inbox if each.kind != "watch"]
        return row, told

    found = store.find(run_id)
    return found is not None and _is_watched(found) and store.update(run_id, remove)


def _is_watched(row: Row) -> bool:
    return any(each.kind == "watch" for each in row.inbox)


def _add(row: Row, kind: MessageKind, question: str | None = None, value: Any = None) -> None:
    row.mails += 1
    row.inbox = [*row.inbox, Message(f"{row.mails:012}", kind, question, value)]


def open_question(row: Row, id: str | None, now: float) -> Interrupt:
    """The question of that id, or the one that is open. Raises `ReplyError` where there is none."""
    run, asked = f"Run {row.summary.id}", row.summary.interrupts
    answered = {each.question for each in row.inbox if each.kind == "reply"}
    if id is None:
        left = [each for each in asked if each.id not in answered] or list(asked)
        if len(left) != 1:
            ids = ", ".join(repr(each.id) for each in left)
            if not left:
                raise ReplyError(f"{run} asks nothing; it is {row.summary.status}.", asked=False)
            raise ReplyError(f"{run} asks {len(left)} questions: give the id, one of {ids}.")
        id = left[0].id
    found = next((each for each in asked if each.id == id), None)
    if found is None:
        ids = ", ".join(repr(each.id) for each in asked) or "none"
        raise ReplyError(
            f"{run} does not ask {id!r}, or not any more; it is {row.summary.status}, and the open "
            f"questions are: {ids}.",
            asked=False,
        )
    if id in answered:
        raise ReplyError(
            f"Question {id!r} of run {row.summary.id} is answered already.", asked=False
        )
    if found.expires is not None and found.expires <= now:
        raise ReplyError(f"Question {id!r} of run {row.summary.id} has expired.", asked=False)
    return found


def check_answer(question: Interrupt, value: Any) -> None:
    """Raise `ReplyError` where the question does not take the answer, and `MissingExtra`."""
    plain = _plain(value)
    check_choice(question, plain)
    if question.schema is not None:
        _check_schema(question, question.schema, plain)


def _plain(value: Any) -> Any:
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except Exception as error:
        raise ReplyError(f"{value!r} is no answer, because it is no JSON: {error}.") from None


def _check_schema(question: Interrupt, schema: dict[str, Any], value: Any) -> None:
    try:
        from jsonschema import Draft202012Validator
    except ImportError as missing:
        raise MissingExtra(
            f"The answer to {question.prompt!r} is checked by the package jsonschema, which is not "
            "installed. Install the extra: pip install flowevents[journal]"
        ) from missing
    error = next(iter(Draft202012Validator(schema).iter_errors(value)), None)
    if error is not None:
        raise ReplyError(f"{value!r} does not answer {question.prompt!r}: {error.message}.")
