"""A model that answers what a test wrote down."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterable, Iterator

__all__ = ["NoReply", "ScriptedModel"]


class NoReply(BaseException):
    """A `ScriptedModel` was called once more than it has replies.

    It is no `Exception`, so that no retry and no fallback of a node hides it from the test.
    """


class ScriptedModel:
    """A model that gives one scripted reply per call, in order; it may be used from any thread.

    Args:
        replies: What the calls give. A reply is a text, streamed word by word; or a list of the
            chunks to stream; or an exception to raise, which a list may hold too, to fail midway.
            Any iterable will do: `itertools.repeat("yes")` never runs out.

    Attributes:
        calls: The prompts so far, in order.

    A call beyond the last reply raises `NoReply` with its prompt.
    """

    def __init__(
        self, replies: Iterable[str | BaseException | Iterable[str | BaseException]]
    ) -> None:
        if isinstance(replies, str):
            raise TypeError(f"replies={replies!r} is a single text: put it in a list.")
        self._replies = iter(replies)
        self._lock = threading.Lock()
        self.calls: list[object] = []

    def __call__(self, prompt: object) -> str:
        """The next reply as a whole."""
        return "".join(self.stream(prompt))

    def stream(self, prompt: object) -> Iterator[str]:
        """The next reply, chunk by chunk. The call takes it, iterating raises what it holds."""
        return _play(self._take(prompt))

    async def acall(self, prompt: object) -> str:
        """The next reply as a whole, in an event loop."""
        return "".join([chunk async for chunk in self.astream(prompt)])

    def astream(self, prompt: object) -> AsyncIterator[str]:
        """`stream` in an event loop; before each chunk other tasks get a turn."""
        return _play_async(self._take(prompt))

    def _take(self, prompt: object) -> list[str | BaseException]:
        with self._lock:
            self.calls.append(prompt)
            reply = next(self._replies, None)
            if reply is None:
                raise NoReply(
                    f"ScriptedModel has no reply for call {len(self.calls)}, with the prompt "
                    f"{prompt!r}: give it more replies."
                )
        if isinstance(reply, BaseException):
            return [reply]
        return list(re.findall(r"\s*\S+|\s+\Z", reply) if isinstance(reply, str) else reply)


def _play(chunks: list[str | BaseException]) -> Iterator[str]:
    for chunk in chunks:
        if isinstance(chunk, BaseException):
            raise chunk
        yield chunk


async def _play_async(chunks: list[str | BaseException]) -> AsyncIterator[str]:
    for chunk in _play(chunks):
        await asyncio.sleep(0)
        yield chunk
