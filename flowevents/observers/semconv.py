"""The names that traces and metrics take from conventions, and which of them may hold texts.

`gen_ai.*` are those of OpenTelemetry's semantic conventions for generative AI, version 0.1.0
(repository `open-telemetry/semantic-conventions-genai`, status: development; before it they were
part of the general ones, until 1.41.0). `error.*`, `exception.*` and `server.*` are those of the
general semantic conventions, version 1.45.0, stable; `session.id` and `user.id` too, which are in
development. What has no name there is `flowevents.*`, and is named where it is told.

Nothing here imports OpenTelemetry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from flowevents.observers.fields import as_attribute, as_text

__all__ = ["error_type", "output_messages", "told", "whose"]

ERROR_TYPE: Final = "error.type"
OTHER_ERROR: Final = "_OTHER"

EXCEPTION: Final = "exception"  # the event
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"

OPERATION_NAME: Final = "gen_ai.operation.name"
INVOKE_WORKFLOW: Final = "invoke_workflow"
AGENT_NAME: Final = "gen_ai.agent.name"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SESSION: Final = "session.id"
USER: Final = "user.id"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"

INVOKE_AGENT_DURATION: Final = "gen_ai.invoke_agent.duration"  # the metric

SECONDS: Final = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28),
    *(2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68),
)
"""Bounds of the histograms' buckets: those that the conventions advise, and two beyond."""

# -- what is told ----------------------------------------------------------------------------

KIND: Final = "gen_ai"
"""The `kind` of the chunks in which a node tells attributes of its step."""

_PLAIN: Final = re.compile(
    r"gen_ai\.("
    r"operation\.name|provider\.name|conversation\.id|output\.type|data_source\.id|prompt\.name"
    r"|agent\.(id|name|version)|tool\.(name|type|call\.id)|embeddings\.dimension\.count"
    r"|(request|response|usage)\.[a-z_.]+)"
    r"|server\.(address|port)"
)


def told(fields: Mapping[str, Any], *, content: bool) -> dict[str, Any]:
    """The attributes among what a node, or a run's `metadata`, tells in plain values.

    Without `content` only those are left that are known to hold no prompts, outputs and the like.
    """
    return {
        name: as_attribute(value)
        for name, value in fields.items()
        if value is not None
        and (_PLAIN.fullmatch(name) or (content and name.startswith("gen_ai.")))
    }


def whose(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The session and the user of a run, as its `metadata` names them; every span tells them."""
    given = {name.replace("_", "."): value for name, value in metadata.items()}
    return {name: as_text(given[name]) for name in (SESSION, USER) if given.get(name) is not None}


def output_messages(text: str, status: str) -> str:
    """What a step streamed, in the form of `gen_ai.output.messages`."""
    reason = "stop" if status == "ok" else "error"
    parts = [{"type": "text", "content": text}]
    return as_text([{"role": "assistant", "parts": parts, "finish_reason": reason}])


_ERROR: Final = re.compile(r"([^\W\d]\w*)(: |\Z)")


def error_type(error: str) -> str:
    """The `error.type` of an event's error: the exception's class, `_OTHER` if it says none."""
    found = _ERROR.match(error)
    return OTHER_ERROR if found is None else found[1]
