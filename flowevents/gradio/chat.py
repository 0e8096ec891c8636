"""What Gradio calls for each message, and what it holds of a session.

The rules of this file:

* Gradio holds what a session has, and drops it when the tab is closed or loaded anew. That cancels
  the session's run at once, wherever it stands.
* Nobody else holds it, not even the answer to a message that is under way.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from gradio import Cache

from flowevents.gradio.history import spoken, stop_spinners, typed
from flowevents.gradio.messages import Message, Messages, failure
from flowevents.gradio.reply import reply_paths
from flowevents.gradio.talk import Talk

if TYPE_CHECKING:
    from typing import Unpack

    from flowevents.run import RunOptions

__all__ = ["chat"]

logger: Final = logging.getLogger("flowevents")

_SESSIONS: Final = 10_000
"""The most that are held at once; Gradio's own limit, too."""


def chat(
    flow: Any,
    *,
    shared: Callable[..., Any] | None = None,
    answer: str | Iterable[str] | None = None,
    **options: Unpack[RunOptions],
) -> Callable[..., AsyncGenerator[list[Message]]]:
    """Return what `gr.ChatInterface` calls for each message: it runs the flow, and shows it.

    A message begins a run, or answers the question at which the run of the session waits: as one
    of its choices, else as JSON, else as text. One that comes while the run goes on stops it, and
    begins another.

    Gradio answers one person after the other: `gr.ChatInterface(chat(flow),
    concurrency_limit=None)` answers all at once.

    Args:
        flow: A flow or a node, sync or async, ours or pocketflow's.
        shared: `shared(message, history)` gives what the nodes of a run get. `message` is what
            Gradio gives; `history` is what was said before, a list of `role` and `content`, without
            the steps. The values of `additional_inputs` follow. By default
            `{"messages": [*history, {"role": "user", "content": message}]}`.
        answer: The paths of the nodes whose chunks are the reply; every other node is a step that
            can be folded. By default the nodes that no other one follows.
        options: As of `Run`, for each run, but for `id` and `on_pause`. `offload` is on for an
            async flow, because its nodes share Gradio's loop.

    Raises `GraphError` where `flow` is no node, and `ValueError` for an `answer` that is no path of
    one, or is missing where each node is followed by another.
    """
    paths = reply_paths(flow, answer)
    for name in ("id", "on_pause"):
        if name in options:
            raise ValueError(
                f"chat: {name}={options.get(name)!r} is not for many runs. Leave it out."
            )
    seats = Cache(per_session=True, max_size=_SESSIONS)

    def talk_of(message: Any, history: list[Message], more: tuple[Any, ...]) -> Talk:
        seat: _Seat = next(iter(seats.keys()), None) or _Seat()
        seats.set(seat)
        talk = seat.talk
        if talk is None or not talk.waits_for(history):
            seat.leave()
            said = spoken(history)
            given = shared or _messages
            talk = seat.talk = Talk(flow, given(message, said, *more), Messages(paths), options)
        return talk

    async def respond(
        message: Any, history: list[Message], *more: Any
    ) -> AsyncGenerator[list[Message]]:
        stop_spinners(history)
        try:
            talk = talk_of(message, history, more)
        except Exception as error:
            logger.error("A message began no run", exc_info=error)
            yield [failure(error)]
            return
        async with aclosing(talk.turn(typed(message))) as updates:
            async for messages in updates:
                yield messages

    respond.__name__ = respond.__qualname__ = "chat"  # Gradio names the endpoint after it
    respond.__doc__ = "Send a message, and get what the assistant does and says."
    return respond


def _messages(message: Any, history: list[Message], *more: Any) -> dict[str, Any]:
    has_files = not isinstance(message, str) and message.get("files")
    content = message if has_files else typed(message)
    return {"messages": [*history, {"role": "user", "content": content}]}


class _Seat:
    """Where the talk of a session is."""

    def __init__(self) -> None:
        self.talk: Talk | None = None

    def leave(self) -> None:
        """Cancel its run, if that has not ended."""
        talk, self.talk = self.talk, None
        if talk is not None and not talk.is_over and not sys.is_finalizing():
            # In a thread: what a node does at its end must not keep the server waiting.
            threading.Thread(target=talk.cancel, daemon=True).start()

    def __del__(self) -> None:
        self.leave()
