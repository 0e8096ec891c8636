"""What of a run's `shared` is kept: what has changed since the last record that said so."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from msgspec import UNSET, Raw

from flowevents.errors import JournalError
from flowevents.journal.codec import Codec, Print, fingerprint
from flowevents.journal.kept import Changes

__all__ = ["SharedFold", "SharedLog"]

_ALL: Final = object()
_NO_VALUE: Final = object()
_FROZEN: Final = frozenset({str, bytes, int, float, bool, type(None)})


class _Known:
    """A value as it was kept last.

    Attributes:
        print: What would be another one for another value.
        length: How long it was, if it is a list.
        frozen: The value itself, if it never changes; `_NO_VALUE` else.
    """

    __slots__ = ("frozen", "length", "print")

    def __init__(self, value: Any, print: Print | int) -> None:
        self.print: Print | int = print
        self.length: int = len(value) if type(value) is list else 0
        self.frozen: Any = value if type(value) in _FROZEN else _NO_VALUE


class SharedLog:
    """Says what has changed in `shared` since it was asked last.

    Args:
        shared: What the nodes get.
        codec: How its values are kept.
        transient: The top-level keys that are not.
    """

    __slots__ = ("_codec", "_known", "_shared", "_transient")

    def __init__(self, shared: Any, codec: Codec, transient: Collection[Any]) -> None:
        self._shared = shared
        self._codec = codec
        self._transient = transient
        self._known: dict[Any, _Known] = {}

    def changes(self) -> Changes | None:
        """Return what has changed, or `None`. Raises `JournalError` for what cannot be kept."""
        found, known = Changes(), self._known
        if type(self._shared) is not dict:
            self._look_at(_ALL, self._shared, known.get(_ALL), found)
            return None if found.all is UNSET else found
        kept = 0
        for key, value in list(self._shared.items()):
            if key in self._transient:
                continue
            kept += 1
            before = known.get(key)
            if before is None or before.frozen is not value:
                self._look_at(key, value, before, found)
        if len(known) > kept:
            for key in [key for key in known if key not in self._shared]:
                del known[key]
                found.gone.append(self._key(key))
        return found if found.set or found.add or found.gone else None

    def _look_at(self, key: Any, value: Any, before: _Known | None, found: Changes) -> None:
        """Note what of a value has changed, or is new: its end, where it only got longer."""
        where = "shared" if key is _ALL else f"shared[{key!r}]"
        now = self._print(value, where)
        if before is not None and before.print == now:
            return
        if key is _ALL:
            found.all = Raw(self._codec.encode(value, where))
        elif before is not None and self._is_longer(value, before, where):
            end = self._codec.encode(value[before.length :], where)
            found.add.append((self._key(key), Raw(end)))
        else:
            raw = self._codec.encode(value, where)
            found.set.append((self._key(key), Raw(raw)))
        self._known[key] = _Known(value, now)

    def _is_longer(self, value: Any, before: _Known, where: str) -> bool:
        """Whether it is the list that it was, with a new end."""
        if type(value) is not list or not 0 < before.length < len(value):
            return False
        return self._print(value[: before.length], where) == before.print

    def _print(self, value: Any, where: str) -> Print | int:
        """Return what is another one for another value: of most, without writing them."""
        return fingerprint(value) or hash(self._codec.encode(value, where))

    def _key(self, key: Any) -> Raw:
        if key is not None and type(key) not in (bool, int, float, str, bytes):
            raise JournalError(
                f"shared has the key {key!r}: a journal keeps keys of None, bool, int, float, str "
                "and bytes. Use one of these, or name it in transient={…}."
            )
        return Raw(self._codec.encode(key, "a key of shared"))


class SharedFold:
    """`shared` as the changes of a log, one after the other, leave it."""

    __slots__ = ("_all", "_parts")

    def __init__(self) -> None:
        self._all: Raw | None = None
        self._parts: dict[bytes, list[Raw]] = {}  # by the key's JSON: the value, and what was added

    def apply(self, changes: Changes) -> None:
        """Go on with what a record says."""
        if changes.all is not UNSET:
            self._all = changes.all
            return
        for key, value in changes.set:
            self._parts[bytes(key)] = [value]
        for key, end in changes.add:
            self._parts[bytes(key)].append(end)
        for key in changes.gone:
            self._parts.pop(bytes(key), None)

    def value(self, codec: Codec) -> Any:
        """Return it. Raises `JournalError` for a class that the codec does not know."""
        if self._all is not None:
            return codec.decode(bytes(self._all))
        found = {}
        for key, parts in self._parts.items():
            value = codec.decode(bytes(parts[0]))
            for end in parts[1:]:
                value += codec.decode(bytes(end))
            found[codec.decode(key)] = value
        return found
