"""Many runs at once, each with a text of its own, and the check that none heard another's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ..measure import expect

CHUNKS = 100

Hear = Callable[[object], None]
Run = Callable[[str, int, Hear], Coroutine[Any, Any, None]]


def at_once(run: Run, number: int) -> None:
    """Stream so many chunks in concurrent runs of 100 chunks: 1,000 runs of 100,000.

    `run` takes the text of the run, how often to give it, and what to hand to whatever the run's
    own consumer heard.
    """
    chunks = min(CHUNKS, number // 2)
    heard: dict[str, list[object]] = {f"text of run {i}": [] for i in range(number // chunks)}

    async def gather() -> None:
        await asyncio.gather(*(run(text, chunks, into.append) for text, into in heard.items()))

    asyncio.run(gather())
    for text, texts in heard.items():
        expect(texts == [text] * chunks, True, f"what was heard of {text!r} to be its own alone")
