"""stub"""
from __future__ import annotations
from typing import Any
import msgspec
class Record(msgspec.Struct, frozen=True):
    seq: int
    event: bytes
    kept: bytes | None
class Message(msgspec.Struct, frozen=True):
    id: str
    kind: str
    question: str | None
    value: Any
