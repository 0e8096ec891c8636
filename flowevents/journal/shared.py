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
        print: Its `fingerprint`, if it has one; else `raw` is the hash of its JSON, but for the
            last byte.
        length: How long it was, if it is a list; without a fingerprint that of its JSON.
        frozen: The value itself, if it never changes; `_NO_VALUE` else.
    """

    __slots__ = ("frozen", "length", "print", "raw")

    def __init__(self, value: Any, print: Print | None, raw: bytes) -> None:
        self.print: Print | None = print
        self.raw: int = hash(raw[:-1]) if print is None else 0
        self.length: int = len(value if print else raw) if type(value) is list and value else 0
        self.frozen: Any = value if type(value) in _FROZEN else _NO_VALUE

    def added_in(self, raw: bytes) -> bytes | None:
        """Return the new end of a list whose JSON this is, if it only got longer."""
        at = self.length
        if self.print or not at or raw[at - 1 : at] != b"," or hash(raw[: at - 1]) != self.raw:
            return None
        return b"[" + raw[at:]


def _place(key: Any) -> str:
    """Where a value stands, in an error."""
    return "shared" if key is _ALL else f"shared[{key!r}]"


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
            raw = self._changed(_ALL, self._shared, known.get(_ALL), fingerprint(self._shared))
            if raw is None:
                return None
            found.all = Raw(raw)
            return found
        kept = 0
        for key, value in list(self._shared.items()):
            if key in self._transient:
                continue
            kept += 1
            before = known.get(key)
            if before is None:
                self._look_at(key, value, before, fingerprint(value), found)
            elif before.frozen is not value:
                now = fingerprint(value)
                if now is None or now != before.print:
                    self._look_at(key, value, before, now, found)
        if len(known) > kept:
            for key in [key for key in known if key not in self._shared]:
                del known[key]
                found.gone.append(self._key(key))
        return found if found.set or found.add or found.gone else None

    def _look_at(
        self, key: Any, value: Any, before: _Known | None, now: Print | None, found: Changes
    ) -> None:
        """Note what of a value has changed, or is new: its end, where it only got longer."""
        if before is not None and before.print is not None and type(value) is list:
            length = before.length
            if len(value) > length > 0 and fingerprint(value[:length]) == before.print:
                end = self._codec.encode(value[length:], _place(key))
                raw = end if now is not None else self._codec.encode(value, "")
                self._known[key] = _Known(value, now, raw)
                found.add.append((self._key(key), Raw(end)))
                return
        changed = self._changed(key, value, before, now)
        if changed is None:
            return
        added = None if before is None else before.added_in(changed)
        if added is None:
            found.set.append((self._key(key), Raw(changed)))
        else:
            found.add.append((self._key(key), Raw(added)))

    def _changed(
        self, key: Any, value: Any, before: _Known | None, now: Print | None
    ) -> bytes | None:
        """Return the value's JSON, where it has changed."""
        if before is not None and now is not None and before.print == now:
            return None
        raw = self._codec.encode(value, _place(key))
        after = _Known(value, now, raw)
        if before is not None and now is None and before.print is None and before.raw == after.raw:
            return None
        self._known[key] = after
        return raw

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
