"""Values as JSON can hold them: nothing fails because it was observed, and little is lost.

What has no form in JSON becomes `{"$type": qualified name}`. A value is taken for what its real
type says; what only claims to be a text or a number, as proxies and mocks do, is one where it
equals what it gives.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableSequence
from decimal import Decimal
from typing import Any, Final

import msgspec

__all__ = ["DEEPEST", "encode", "is_deep", "plain", "text_in"]

DEEPEST: Final = 100
"""The most containers around a value that is written: a reader may have little stack left."""

MOST_IN_ARRAY: Final = 1_000
"""The most elements of an array (numpy's, or of its kin) that are written."""


_MADE: Final[tuple[tuple[type, Callable[[Any], object]], ...]] = (
    (str, str),
    (bool, bool),
    (int, int),
    (float, float),
    (Mapping, dict),
    (MutableSequence, list),
)


def simpler(value: Any) -> object:
    """What stands for a value that JSON does not know; what is in it may have to be made simpler.

    Texts and numbers of a subclass are texts and numbers, as are a numeric library's scalars; its
    small arrays are lists, pydantic's models their fields.
    """
    kind: type = type(value)
    given = value  # which stays of any type
    try:
        if issubclass(kind, str):
            return str.__str__(value)
        if issubclass(kind, int):
            return int.__index__(value)
        if issubclass(kind, float):
            return float.__float__(value)
        if hasattr(kind, "dtype") and hasattr(kind, "tolist"):
            return value.tolist() if math.prod(value.shape) <= MOST_IN_ARRAY else _named(value)
        if hasattr(kind, "model_dump"):
            return value.model_dump(warnings=False)
        for claimed, make in _MADE:
            if isinstance(value, claimed):
                found = make(given)
                return found if issubclass(kind, claimed) or found == value else _named(value)
    except Exception:  # it is somebody else's code
        pass
    return _named(value)


def text_in(value: object) -> str | None:
    """A text of any class as a `str`; `None` for what is none, or only claims to be."""
    if type(value) is str:
        return value
    found = simpler(value) if isinstance(value, str) else None
    return found if isinstance(found, str) else None


def _named(value: object) -> dict[str, str]:
    return {"$type": _type_name(value)}


def _type_name(value: object) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder(
    enc_hook=simpler, decimal_format="string"
).encode
"""The JSON of a value; fails for keys, cycles, integers and surrogates that JSON cannot hold."""

_known: Final = msgspec.json.Encoder(decimal_format="string")


# -- nesting ----------------------------------------------------------------------------------

_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_STRING: Final = re.compile(rb'"[^"]*"')


def is_deep(raw: bytes, around: int) -> bool:
    """Whether more than `DEEPEST` containers, and those `around` it, lie around a value in JSON."""
    most = DEEPEST + around
    if len(raw) - len(raw.replace(b"[", b"").replace(b"{", b"")) <= most:  # faster than `count`
        return False
    unescaped = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    # Without what is no bracket and no quote, most strings are two quotes.
    brackets = unescaped.translate(_ONE_KIND, _OTHERS).replace(b'""', b"")
    brackets = _STRING.sub(b"", brackets)
    for _ in range(most):  # each time the innermost ones go
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


# -- what JSON cannot hold --------------------------------------------------------------------


def plain(value: object, above: tuple[int, ...] = ()) -> Any:
    """The value as JSON can hold it, in a copy; `above` are the ids of the containers around it."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if isinstance(value, str) and kind is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, int) and kind is int:
        return value if _is_known(value) else _digits(value)
    if id(value) in above or len(above) >= DEEPEST:
        return _named(value)
    inside = (*above, id(value))
    try:
        if isinstance(value, Mapping) and issubclass(kind, dict):
            return _object(value.items(), inside)
        if isinstance(value, Iterable) and issubclass(kind, (list, tuple, set, frozenset)):
            return [plain(each, inside) for each in value]
        fields = _fields(value)
        if fields is not None:
            return _object(fields.items(), inside)
        if _is_known(value):
            return value
        found = simpler(value)
    except Exception:  # it is somebody else's code
        return _named(value)
    return plain(found, inside)


def _fields(value: object) -> dict[str, Any] | None:
    """The fields of a struct, a dataclass, or a class of attrs; but for private ones."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    kind = type(value)
    names = getattr(kind, "__dataclass_fields__", None)
    if names is None:
        names = [each.name for each in getattr(kind, "__attrs_attrs__", ())] or None
    if names is None:
        return None
    public = [name for name in names if not name.startswith("_")]
    return {name: getattr(value, name) for name in public if hasattr(value, name)}


def _object(items: Iterable[tuple[object, object]], above: tuple[int, ...]) -> dict[str, Any]:
    """A JSON object, in which keys that would be the same are told apart: `"a"`, `"a#2"`."""
    found: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    for key, value in items:
        name = once = _key(key)
        while name in found:
            counts[once] += 1
            name = f"{once}#{counts[once] + 1}"
        found[name] = plain(value, above)
    return found


def _key(key: object) -> str:
    text = text_in(key)
    if text is not None:
        return str(plain(text))
    if key is None or isinstance(key, bool):
        return str(key)
    try:
        (name,) = msgspec.json.decode(_known.encode({key: None}))
    except Exception:
        return _digits(key) if type(key) is int else _type_name(key)
    return str(name)


def _digits(number: int) -> str:
    """All digits of a number, however many; `str` gives only 4,300, which is what can be read."""
    return str(Decimal(number))


def _is_known(value: object) -> bool:
    try:
        _known.encode(value)
    except Exception:
        return False
    return True
