"""What a generator of a node yields that is no chunk: a question, or its result; and answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final, Generic, TypeVar, final, get_origin

import msgspec

from flowevents.errors import ReplyError
from flowevents.events import Interrupt

__all__ = ["Answer", "Ask", "Result", "check_choice"]

T = TypeVar("T")


@final
class Ask:
    """A question: `answer = yield Ask("Ship it?", choices=["yes", "no"])`.

    Args:
        prompt: What is asked: a text, or any data that the one who answers understands.
        choices: The only answers there are, at least one; without, any.
        type: What an answer is converted to, as by `msgspec.convert`: `bool`, `int`, a
            `msgspec.Struct`, a dataclass, `list[str]` and so on. Its JSON schema is in the event.
        expires: After how many seconds nobody can answer any more.

    Raises `ValueError` for no choices, for one that is not of the `type` and for an `expires` that
    is not positive and finite, and `TypeError` for a `type` that has no JSON schema and for a
    `prompt` that is an `Ask`.
    """

    __slots__ = ("choices", "expires", "prompt", "schema", "type")

    def __init__(
        self,
        prompt: Any,
        *,
        choices: Iterable[Any] | None = None,
        type: Any = None,
        expires: float | None = None,
    ) -> None:
        if isinstance(prompt, Ask):
            raise TypeError(
                f"Ask: the prompt is a question itself, {prompt!r}. Yield that one, or give ask() "
                "what it is made of: its prompt, choices, type and expires."
            )
        if isinstance(choices, str):
            raise ValueError(f"Ask: choices={choices!r} is one text; give a list of choices.")
        self.prompt: Any = prompt
        self.choices: list[Any] | None = None if choices is None else list(choices)
        self.type: Any = type
        self.schema: dict[str, Any] | None = None if type is None else schema_of(type)
        self.expires: float | None = expires
        if self.choices is not None and not self.choices:
            raise ValueError("Ask: choices is empty, so nobody could answer. Give one, or None.")
        if expires is not None and not (isinstance(expires, (int, float)) and 0 < expires < inf):
            raise ValueError(f"Ask: expires={expires!r}; give seconds above 0, or None.")
        for choice in (self.choices or ()) if type is not None else ():
            try:
                msgspec.convert(choice, type)
            except msgspec.ValidationError as error:
                raise ValueError(
                    f"Ask: the choice {choice!r} is not of type {_name(type)}: {error}. "
                    "Nobody could ever give it."
                ) from None

    def __init_subclass__(cls) -> None:
        raise TypeError(
            f"{cls.__name__} cannot be a class of questions: a node would stream it as a chunk. "
            "Write a function that returns an Ask."
        )

    def __repr__(self) -> str:
        return f"Ask({self.prompt!r})"

    def check(self, value: Any) -> Any:
        """Return the answer that the node gets for `value`. Raises `ReplyError` with the reason."""
        if self.type is not None:
            try:
                value = msgspec.convert(value, self.type)
            except msgspec.ValidationError as error:
                raise ReplyError(
                    f"{value!r} does not answer {self.prompt!r}: {error}. "
                    f"An answer is of type {_name(self.type)}."
                ) from None
        check_choice(self, value)
        return value


def check_choice(question: Ask | Interrupt, value: Any) -> None:
    """Raise `ReplyError` where a question has choices, of which the answer is none."""
    if question.choices is not None and not any(
        value == each and isinstance(value, bool) == isinstance(each, bool)
        for each in question.choices
    ):
        known = ", ".join(map(repr, question.choices))
        raise ReplyError(f"{value!r} does not answer {question.prompt!r}: the choices are {known}.")


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type. Raises `TypeError` where it has none."""
    try:
        return _schema_of(kind)
    except TypeError as error:
        raise TypeError(
            f"Ask: type={kind!r} cannot be asked for, because msgspec knows no JSON schema of it. "
            "Give a type such as bool, int, list[str], a dataclass or a msgspec.Struct."
        ) from error


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)


@functools.lru_cache(maxsize=256)
def _schema_of(kind: Any) -> dict[str, Any]:
    return msgspec.json.schema(kind)


class Answer(Generic[T]):
    """What a handler of `interrupt` returns to answer the question; the first one wins.

    Args:
        value: The answer.
        refused: Called with the `ReplyError` if the question does not take the answer. It may
            give another `Answer`, or `None`; in an async run it may be `async` too.
            Without it the refusal is an error of the handler. Either way the question stays open.
    """

    __slots__ = ("refused", "value")

    def __init__(self, value: T, *, refused: Callable[[ReplyError], object] | None = None) -> None:
        self.value: Final = value
        self.refused: Final = refused

    def __repr__(self) -> str:
        return f"Answer({self.value!r})"


class Result(Generic[T]):
    """The `exec_res` of an async generator: what it yields last, and no chunk."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value: T = value

    def __repr__(self) -> str:
        return f"Result({self.value!r})"
