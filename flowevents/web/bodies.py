"""What a request may say: a JSON object of known fields, and query parameters."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request

from flowevents.plain import DEEPEST, is_deep

__all__ = ["ReplyBody", "StartBody", "check_id", "is_id", "object_of", "read", "whole_number"]

T = TypeVar("T")

_ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_LARGE: Final = 10_000  # bytes of JSON from which on it is read in a thread
_NUMBER: Final = re.compile(r"[0-9]{1,20}")


class StartBody(msgspec.Struct, forbid_unknown_fields=True):
    """What starts a run.

    Attributes:
        flow: The flow's name in the server.
        shared: What the nodes get.
        id: The run's id; by default a random one.
        metadata: What is said of it.
    """

    flow: str
    shared: dict[str, Any] = {}
    id: str | None = None
    metadata: dict[str, Any] = {}


class ReplyBody(msgspec.Struct, forbid_unknown_fields=True):
    """What answers a question: the value, and which one where several are open."""

    value: Any
    id: str | None = None


async def read(request: Request, kind: type[T]) -> T:
    """The JSON of a request as this type.

    Raises `HTTPException`: 415 for what is not sent as JSON, 400 for what is none, and 422 for one
    that does not fit.
    """
    sent = request.headers.get("content-type", "")
    if sent.partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, f"The body is sent as {sent!r}; send JSON, as 'application/json'.")
    raw = await request.body()
    given = _decoded(raw) if len(raw) < _LARGE else await run_sync(_decoded, raw)
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise HTTPException(422, f"The body does not fit: {error}.") from None


async def object_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request. Raises as `read`."""
    return await read(request, dict[str, Any])


def _decoded(raw: bytes) -> Any:
    try:
        given = msgspec.json.decode(raw)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"The body is no JSON: {error}.") from None
    if is_deep(raw, 0):
        raise _too_deep()
    return given


def _too_deep() -> HTTPException:
    return HTTPException(422, f"The body is nested too deep: more than {DEEPEST} around a value.")


def is_id(text: str) -> bool:
    """Whether a run can have this id."""
    return _ID.fullmatch(text) is not None and text not in (".", "..")


def check_id(run_id: str | None) -> None:
    """Raise `HTTPException` where a new run cannot have this id."""
    if run_id is not None and not is_id(run_id):
        raise HTTPException(
            422,
            f"{run_id!r} is no id for a run: use 1 to 128 of A-Z, a-z, 0-9, '.', '_', '~' and '-', "
            "and neither '.' nor '..'.",
        )


def whole_number(given: str, what: str) -> int:
    """A number from a header or a query. Raises `HTTPException`."""
    if not _NUMBER.fullmatch(given):
        raise HTTPException(400, f"{what} is {given!r}; give a whole number from 0.")
    return int(given)
