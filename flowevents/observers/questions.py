"""Questions and answers as people write them: the words of one, and the value of the other.

A question is an `Interrupt`: its choices may be any JSON values, its schema is a JSON schema
(draft 2020-12, as msgspec writes it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from flowevents.events import Interrupt
from flowevents.plain import text_in

__all__ = ["choices_of", "hint", "listed", "more_wait", "parse", "wording"]


def wording(value: object) -> str:
    """How a prompt, a choice or an answer is written: a text as it is, anything else as JSON."""
    text = text_in(value)
    if text is not None:
        return text
    try:
        return msgspec.json.encode(value).decode()
    except Exception:  # whatever a node gave that is no JSON
        return f"<{type(value).__name__}>"


def more_wait(count: int) -> str:
    """How it is said that so many other questions wait for their turn."""
    return f"{count} more question{' waits' if count == 1 else 's wait'}"


def choices_of(question: Interrupt) -> list[Any] | None:
    """The only answers that there are: its choices, or what its schema enumerates."""
    if question.choices:
        return list(question.choices)
    kinds = list(_alternatives(question.schema))
    if kinds and all("enum" in kind or "const" in kind for kind in kinds):
        return [each for kind in kinds for each in _enumerated(kind)]
    return None


def listed(question: Interrupt, mark: str = "") -> list[str]:
    """Its choices as they are written below it, each behind the number or the mark that it has."""
    choices = choices_of(question) or []
    texts = [wording(each) for each in choices]
    if not _is_numbered(choices):
        return [mark + each for each in texts]
    return [f"{number} {each}" for number, each in enumerate(texts, 1)]


def _is_numbered(choices: Sequence[object]) -> bool:
    """Whether a choice can be named by its number: not where choices are numbers themselves."""
    return not any(wording(each).strip().isdecimal() for each in choices)


def hint(question: Interrupt) -> str:
    """What kind of answer is wanted, in a few words; empty for a text, and where it has choices."""
    if choices_of(question) is not None:
        return ""
    names = dict.fromkeys(_kind(each) for each in _alternatives(question.schema))
    words = [_KINDS[name][0] for name in names if name in _KINDS and name]
    return "" if words == ["text"] else ", ".join(words)


def parse(question: Interrupt, line: str) -> Any:
    """The value that a typed line stands for.

    A choice is named by its number, its text, or the only beginning of one. A value follows the
    question's schema: yes or no, a number, JSON for arrays and objects, an empty line for null;
    where several fit, a text is the last resort.

    Raises `ValueError` that says what would be understood. Whether the question takes the value
    is not checked here.
    """
    choices = choices_of(question)
    if choices is not None:
        return _choose(choices, line.strip())
    kinds = {_kind(each) for each in _alternatives(question.schema)}
    if not kinds:
        return line
    for name, (_, read) in _KINDS.items():
        if name in kinds:
            with suppress(KeyError, ValueError):
                return read(line)
    raise ValueError(f"{line.strip()!r} is not {hint(question).replace(', ', ' or ')}.")


def _choose(choices: list[Any], line: str) -> Any:
    texts = [wording(each).strip() for each in choices]
    folded = line.casefold()
    for matches in (
        [n for n, text in enumerate(texts) if text == line],
        [n for n, text in enumerate(texts) if text.casefold() == folded],
    ):
        if matches:
            return choices[matches[0]]
    numbered = _is_numbered(choices)
    if numbered and line.isdecimal() and 1 <= int(line) <= len(choices):
        return choices[int(line) - 1]
    begun = [n for n, text in enumerate(texts) if folded and text.casefold().startswith(folded)]
    if len(begun) == 1:
        return choices[begun[0]]
    known = f"a number from 1 to {len(choices)}" if numbered else ", ".join(texts)
    fact = f"{line!r} could be several choices" if begun else f"{line!r} is no choice"
    raise ValueError(f"{fact}. Type {known}{', or the text' if numbered else ''}.")


# -- schemas ----------------------------------------------------------------------------------


def _alternatives(schema: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The schemas of which an answer has to fit one, without references, each of one type."""
    if schema is None:
        return
    found = schema.get("$defs")
    defs: dict[str, Any] = found if isinstance(found, dict) else {}
    waiting: list[Any] = [schema]
    for _ in range(1_000):  # a schema may refer to itself
        if not waiting:
            return
        each = waiting.pop(0)
        if not isinstance(each, dict):
            continue
        reference = each.get("$ref")
        several = each.get("anyOf") or each.get("oneOf")
        types = each.get("type")
        if isinstance(reference, str):
            waiting.insert(0, defs.get(reference.rpartition("/")[2]))
        elif isinstance(several, list):
            waiting[:0] = several
        elif isinstance(types, list):
            waiting[:0] = [{**each, "type": name} for name in types]
        else:
            yield each


def _kind(schema: dict[str, Any]) -> str:
    """The name of a schema's type; `""` where it allows any."""
    name = schema.get("type")
    if isinstance(name, str):
        return name
    values = _enumerated(schema)
    if not values:
        return ""
    return "string" if all(isinstance(each, str) for each in values) else ""


def _enumerated(schema: dict[str, Any]) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return list(values) if isinstance(values, list) else []


# -- typed values -----------------------------------------------------------------------------


def _number(line: str) -> float:
    number = float(line)
    if not math.isfinite(number):
        raise ValueError(line)
    return number


def _json(line: str, kind: Any = Any) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _anything(line: str) -> Any:
    try:
        return _json(line)
    except ValueError:
        return line


_NULLS: Final = {"": None, "null": None}
_BOOLEANS: Final = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}

_KINDS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "null": ("nothing", lambda line: _NULLS[line.strip()]),
    "boolean": ("yes or no", lambda line: _BOOLEANS[line.strip().casefold()]),
    "integer": ("a whole number", int),
    "number": ("a number", _number),
    "array": ("a JSON array", lambda line: _json(line, list)),
    "object": ("a JSON object", lambda line: _json(line, dict)),
    "string": ("text", str),
    "": ("", _anything),
}
"""By the name of a schema's type its words, and what reads it, in the order that they are tried."""
