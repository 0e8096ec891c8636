"""ENTER interrupts what streams: type a new instruction and it goes on; ENTER again stops it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from demos import prompts
from demos.model import Model, open_model
from demos.screen import show, start
from flowevents import Ask, AsyncFlow, AsyncStreamNode, Chunk, Interrupt, Run, RunCancelled

README = Path(__file__).resolve().parent.parent / "README.md"


class Tell(AsyncStreamNode):
    """Tells what the passages say. Where the run was asked to pause, it asks what to do."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    async def prep_async(self, shared: dict[str, Any]) -> dict[str, Any]:
        return shared

    async def exec_stream_async(self, prep_res: dict[str, Any]) -> AsyncIterator[Any]:
        told: str | None = prep_res["question"]
        while told is not None:
            asked = prompts.messages(prompts.TELL, **{**prep_res, "question": told})
            told = None
            async with aclosing(self.model.stream_async(asked)) as parts:
                async for part in parts:
                    yield part
                    if self.pause_requested:
                        told = yield Ask("\nNew instruction? (ENTER stops)", type=str)
                        break


class Keyboard:
    """Lines typed while a run goes on: the first asks it to pause, the next is the answer."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.asked_to_pause = False

    def typed(self) -> None:
        """Called by the loop when there is something to read."""
        text = os.read(sys.stdin.fileno(), 4096).decode(errors="replace")
        if not text:
            asyncio.get_running_loop().remove_reader(sys.stdin)
        for line in text.splitlines():
            if not self.asked_to_pause:
                self.asked_to_pause = True
                self.run.pause()
            elif line.strip() and self.run.interrupts:
                self.asked_to_pause = False
                self.run.reply(line.strip())
            else:
                self.run.cancel()


async def main() -> None:
    passages = [{"file": README.name, "text": README.read_text(encoding="utf-8")}]
    shared = {"question": "", "passages": passages}
    with open_model() as model:
        show("ENTER interrupts.\n")
        async with Run(AsyncFlow(Tell(model)), shared, on_pause="wait") as run:
            try:
                asyncio.get_running_loop().add_reader(sys.stdin, Keyboard(run).typed)
            except PermissionError:  # of what is no terminal and no pipe, as /dev/null
                show("(Nothing can be typed here.)")
            try:
                async for event in run:
                    if isinstance(event, Chunk):
                        show(event.data, end="")
                    elif isinstance(event, Interrupt):
                        show(event.prompt, end=" ")
                show("\n(told it all)")
            except RunCancelled:
                show("\n(stopped)")
            finally:
                asyncio.get_running_loop().remove_reader(sys.stdin)


if __name__ == "__main__":
    start(lambda: asyncio.run(main()))
