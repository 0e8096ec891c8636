"""Async: a batch whose items stream from the model side by side, at most three at a time."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from demos import prompts
from demos.model import Model, open_model
from demos.screen import show, start
from flowevents import AsyncFlow, AsyncParallelBatchNode, AsyncStreamNode
from flowevents.events import Chunk, ItemEnd, ItemStart, Progress, Retry

REVIEWS = [
    "We came by train. The coffee was strong and hot. The chairs are hard.",
    "Lovely view of the harbour! I only had tea.",
    "Never again: the coffee was cold, and nobody said sorry.",
    "My children liked the cakes. For me the best coffee in town.",
    "The coffee machine was broken, so we left.",
]


class Read(AsyncStreamNode, AsyncParallelBatchNode):
    def __init__(self, model: Model) -> None:
        super().__init__(max_retries=2, max_concurrency=3)
        self.model = model

    async def prep_async(self, shared: dict[str, Any]) -> list[list[Any]]:
        asked = []
        for number, text in enumerate(REVIEWS, 1):
            passages = [{"file": f"review {number}", "text": text}]
            asked.append(prompts.messages(prompts.SUMMARY, passages=passages, **shared))
            self.progress(number, len(REVIEWS), label="reviews read")
        return asked

    async def exec_stream_async(self, prep_res: list[Any]) -> AsyncIterator[str]:
        async for text in self.model.stream_async(prep_res):
            yield text


class Board:
    """Keeps the items' texts apart by `event.items`, and shows each when it is whole."""

    def __init__(self) -> None:
        self.texts: dict[tuple[int, ...], str] = defaultdict(str)

    def on_progress(self, event: Progress) -> None:
        show(f"{event.done} of {event.total} {event.label}")

    def on_item_start(self, event: ItemStart) -> None:
        show(f"  {event.items[0] + 1} begins")

    def on_chunk(self, event: Chunk) -> None:
        self.texts[event.items] += event.data

    def on_retry(self, event: Retry) -> None:
        self.texts[event.items] = ""  # what the failed attempt said is void

    def on_item_end(self, event: ItemEnd) -> None:
        text = self.texts[event.items] if event.status == "ok" else event.status
        show(f"{event.done} of {event.total} done: {text}")


async def main() -> None:
    shared = {"question": "How was the coffee?"}
    with open_model() as model:
        await AsyncFlow(Read(model)).run_async(shared, observers=[Board()])


if __name__ == "__main__":
    start(lambda: asyncio.run(main()))
