"""What Gradio knows of what was said: its messages, as dictionaries (Gradio 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowevents.gradio.messages import Message

__all__ = ["metadata_of", "spoken", "stop_spinners", "typed"]


def metadata_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a message, which may lack them."""
    return message.get("metadata") or {}


def typed(message: Any) -> str:
    """What was typed, where files may come with it."""
    return message if isinstance(message, str) else str(message.get("text", ""))


def spoken(history: Iterable[Mapping[str, Any]]) -> list[Message]:
    """What was said, without the steps; a content that is all text as one."""
    return [
        {"role": each["role"], "content": _text(each["content"])}
        for each in history
        if "title" not in metadata_of(each)
    ]


def stop_spinners(history: Iterable[Message]) -> None:
    """Say of the steps of a run that was stopped that they go on no more.

    Whoever is stopped cannot say so. Gradio shows what is changed here with the next messages.
    """
    for each in history:
        metadata = metadata_of(each)
        if metadata.get("status") == "pending":
            metadata.update(status="done", log="cancelled")


def _text(content: Any) -> Any:
    parts = content if isinstance(content, list) else [None]
    texts = [each.get("text") if isinstance(each, dict) else None for each in parts]
    return content if None in texts else "\n".join(map(str, texts))
