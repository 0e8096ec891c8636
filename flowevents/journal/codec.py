"""Values as a journal keeps them: JSON, and what comes back is equal and of the same type.

The rules of this file:

* What JSON holds as it is stands there as it is. Everything else is an object with the one key
  `"$"`, whose value is a tag and what belongs to it: `{"$": ["tuple", [1, 2]]}`. A dict that has
  that key itself is tagged, too.
* Nothing is imported that a log names: classes are those of `state_types`.
* What cannot be kept is a `JournalError` that says where it stands and what to do.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import marshal
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from flowevents.errors import JournalError

__all__ = ["Codec", "Print", "fingerprint"]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode

_MARK: Final = "$"
_MARKED: Final = b'"$"'


Print = tuple[int, int]
"""What is another one for another value: its length and its hash."""


def fingerprint(value: Any) -> Print | None:
    """Return what is another one where the value has changed; `None` where it cannot be told.

    It is made of the built-in types alone, for which it is much faster than `Codec.encode`.
    """
    try:
        raw = marshal.dumps(value, 2)  # later versions write what is referred to twice only once
    except (ValueError, RecursionError):
        return None
    return len(raw), hash(raw)


class Codec:
    """Writes values as JSON, and reads them again.

    Args:
        state_types: The classes that may occur beside the built-in ones: dataclasses, classes of
            `msgspec.Struct` and of pydantic, enums.

    Raises `JournalError` for a class of another kind, and for two of one name.
    """

    __slots__ = ("_types",)

    def __init__(self, state_types: Iterable[type] = ()) -> None:
        self._types: dict[str, type] = {}
        for each in state_types:
            if not isinstance(each, type) or _kind_of(each) is None:
                raise JournalError(
                    f"state_types: {each!r} is no dataclass, msgspec.Struct, pydantic model or "
                    "enum, so that a journal does not know how to keep it."
                )
            name = f"{each.__module__}.{each.__qualname__}"
            if self._types.setdefault(name, each) is not each:
                raise JournalError(f"state_types: there are two classes {name}.")

    def encode(self, value: Any, where: str) -> bytes:
        """Return the value as JSON; `where` it stands, in an error: `shared["index"]`.

        Raises `JournalError` for what cannot be kept.
        """
        try:
            marshal.dumps(value, 2)  # refuses what is not exactly of a built-in type
            raw = _encode(value)
            if _MARKED not in raw and _decode(raw) == value:
                return raw
        except Exception:
            pass
        try:
            return _encode(self._tagged(value, where, ()))
        except RecursionError:
            raise JournalError(f"{where} is nested too deeply to be kept in a journal.") from None

    def decode(self, raw: bytes) -> Any:
        """Return the value. Raises `JournalError` for a class that is not in `state_types`."""
        value = _decode(raw)
        return self._untagged(value) if _MARKED in raw else value

    # -- writing ------------------------------------------------------------------------------

    def _tagged(self, value: Any, where: str, above: tuple[int, ...]) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return (
                value
                if _is_text(value)
                else _mark("str", _base64(value.encode("utf-8", "surrogatepass")))
            )
        if kind is int:
            return value if abs(value) < 1 << 63 else _mark("int", hex(value))
        if kind is float:
            return value if value - value == 0 else _mark("float", repr(value))
        if kind in _PLAIN:
            tag, write = _PLAIN[kind]
            return _mark(tag, write(value, where))
        if id(value) in above:
            raise JournalError(f"{where} contains itself: a journal keeps no cycle. {_WAYS_OUT}")
        above = (*above, id(value))
        if kind is list:
            return self._each(value, where, above)
        if kind is tuple:
            return _mark("tuple", self._each(value, where, above))
        if kind in (set, frozenset):  # in another process they may have another order
            return _mark(kind.__name__, sorted(self._each(value, where, above), key=_encode))
        if kind is dict:
            return self._dict(value, where, above)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if self._types.get(name) is not kind:
            raise JournalError(
                f"{where} is {_describe(kind)}, which a journal cannot keep. {_WAYS_OUT}"
            )
        return _mark("type", name, self._tagged(_parts_of(value), where, above))

    def _each(self, values: Iterable[Any], where: str, above: tuple[int, ...]) -> list[Any]:
        return [self._tagged(each, f"{where}[{at}]", above) for at, each in enumerate(values)]

    def _dict(self, value: dict[Any, Any], where: str, above: tuple[int, ...]) -> Any:
        found = {key: self._tagged(each, f"{where}[{key!r}]", above) for key, each in value.items()}
        if _MARK not in found and all(type(key) is str and _is_text(key) for key in found):
            return found
        pairs = []
        for key, each in found.items():
            if not (key is None or type(key) in _SCALARS):
                raise JournalError(
                    f"{where} has the key {key!r}: a journal keeps keys of None, bool, int, "
                    f"float, str, bytes and dates. {_WAYS_OUT}"
                )
            pairs.append([self._tagged(key, f"a key of {where}", above), each])
        return _mark("dict", pairs)

    # -- reading ------------------------------------------------------------------------------

    def _untagged(self, value: Any) -> Any:
        if type(value) is list:
            return [self._untagged(each) for each in value]
        if type(value) is not dict:
            return value
        if _MARK not in value:
            return {key: self._untagged(each) for key, each in value.items()}
        tag, *parts = value[_MARK]
        read = _READ.get(tag)
        if read is not None:
            return read(*parts)
        if tag == "type":
            name, fields = parts
            kind = self._types.get(name)
            if kind is None:
                raise JournalError(
                    f"The log holds an object of class {name}, which is not in state_types: a "
                    "log never says what is imported. Give the class in state_types=[…]."
                )
            return _made(kind, self._untagged(fields))
        inner = parts[0]
        if tag == "dict":
            return {self._untagged(key): self._untagged(each) for key, each in inner}
        return _CONTAINERS[tag](self._untagged(each) for each in inner)


_WAYS_OUT: Final = (
    "Put plain data there, give its class in state_types=[…] if it is a dataclass, msgspec.Struct, "
    "pydantic model or enum, or name the key of shared in transient={…}, and it is not kept."
)


def _mark(tag: str, *parts: Any) -> dict[str, Any]:
    return {_MARK: [tag, *parts]}


def _describe(kind: type) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


# -- built-in types -------------------------------------------------------------------------------


def _is_text(value: str) -> bool:
    """Whether JSON can hold it: lone surrogates it cannot."""
    return value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)


def _base64(value: bytes, where: str = "") -> str:
    return base64.b64encode(value).decode()


def _zone(value: datetime.datetime | datetime.time, where: str) -> list[Any]:
    """A time, whether it is the second one of that name, and its zone's name if that has one."""
    zone = value.tzinfo
    if type(zone).__module__ == "zoneinfo" and (key := getattr(zone, "key", None)) is not None:
        return [value.replace(tzinfo=None).isoformat(), value.fold, key]
    if zone is not None and type(zone) is not datetime.timezone:
        raise JournalError(
            f"{where} is a time in {zone!r}: a journal keeps datetime.timezone and "
            f"zoneinfo.ZoneInfo. {_WAYS_OUT}"
        )
    return [value.isoformat(), value.fold, None]


def _zoned(kind: Any, text: str, fold: int, zone: str | None) -> Any:
    found = kind.fromisoformat(text).replace(fold=fold)
    if zone is None:
        return found
    from zoneinfo import ZoneInfo  # not everybody's import of the package shall pay for it

    return found.replace(tzinfo=ZoneInfo(zone))


_Write = Callable[[Any, str], Any]
_Read = Callable[[Any], Any]

_TAGGED: Final[tuple[tuple[type, str, _Write, _Read], ...]] = (
    (bytes, "bytes", _base64, base64.b64decode),
    (datetime.datetime, "datetime", _zone, lambda parts: _zoned(datetime.datetime, *parts)),
    (datetime.time, "time", _zone, lambda parts: _zoned(datetime.time, *parts)),
    (datetime.date, "date", lambda value, _: value.isoformat(), datetime.date.fromisoformat),
    (
        datetime.timedelta,
        "timedelta",
        lambda value, _: [value.days, value.seconds, value.microseconds],
        lambda parts: datetime.timedelta(*parts),
    ),
    (decimal.Decimal, "Decimal", lambda value, _: str(value), decimal.Decimal),
    (uuid.UUID, "UUID", lambda value, _: value.hex, uuid.UUID),
)
"""The types that JSON does not know: their tags, and how they are written and read."""

_PLAIN: Final[dict[type, tuple[str, _Write]]] = {
    kind: (tag, write) for kind, tag, write, _ in _TAGGED
}
_READ: Final[dict[str, _Read]] = {
    "str": lambda raw: base64.b64decode(raw).decode("utf-8", "surrogatepass"),
    "int": lambda raw: int(raw, 16),
    "float": float,
    **{tag: read for _, tag, _, read in _TAGGED},
}
_CONTAINERS: Final[dict[str, Callable[[Iterable[Any]], Any]]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}

_SCALARS: Final = frozenset({bool, int, float, str, *_PLAIN})


# -- classes of `state_types` ---------------------------------------------------------------------


def _kind_of(kind: type) -> str | None:
    if issubclass(kind, enum.Enum):
        return "enum"
    if issubclass(kind, msgspec.Struct):
        return "struct"
    if hasattr(kind, "__dataclass_fields__"):
        return "dataclass"
    return "pydantic" if hasattr(kind, "__pydantic_fields__") else None


def _parts_of(value: Any) -> Any:
    """What an object of one of these classes is made of: built-in values, and others of them."""
    kind = _kind_of(type(value))
    if kind == "enum":
        return value.value if isinstance(value, enum.Flag) else value.name
    if kind == "struct":
        return msgspec.structs.asdict(value)
    if kind == "dataclass":
        names = [each.name for each in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    return value.__getstate__()


def _made(kind: Any, parts: Any) -> Any:
    """Return the object that has these parts, however its class would have made it."""
    of = _kind_of(kind)
    if of == "enum":
        return kind(parts) if issubclass(kind, enum.Flag) else kind[parts]
    if of == "pydantic":
        found = kind.__new__(kind)
        found.__setstate__(parts)
        return found
    if of == "struct":
        found = kind(**parts)
        for name, value in parts.items():  # its `__post_init__` may have changed them
            msgspec.structs.force_setattr(found, name, value)
        return found
    found = object.__new__(kind)
    for name, value in parts.items():
        object.__setattr__(found, name, value)
    return found
