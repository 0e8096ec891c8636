"""Chats for `test_gradio_page.py`: one flow, async and sync, served by uvicorn or by Gradio.

A message is what to do and a folder in which files say when, and what became of it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["GRADIO_HEARTBEAT_INTERVAL"] = "0.1"  # with which its client notices that it is closed

import gradio
from fastapi import FastAPI

from flowevents import Ask, AsyncFlow, AsyncStreamNode, BaseNode, Flow, StreamNode
from flowevents.gradio import chat
from tests.hostile import HOSTILE

LOOKING = "I am *looking*. "
WRONG = "This is wrong. "


def shared_of(message: str, history: list[dict[str, Any]]) -> dict[str, Any]:
    """What to do, and the folder."""
    what, folder = message.split()
    return {"what": what, "folder": Path(folder), "said": len(history)}


@contextmanager
def closing(folder: Path, name: str) -> Iterator[None]:
    """Say when the code inside has ended, in whatever way."""
    try:
        yield
    finally:
        (folder / f"{name} ended").touch()


def way(shared: dict[str, Any]) -> str:
    """Where to go on."""
    return "ask" if shared["what"] == "ask" else "reply"


def question(shared: dict[str, Any]) -> Ask:
    """What is asked."""
    return Ask("Shall I go on?", choices=["yes", "no"])


class Look(StreamNode):
    """A step that says what it does, and waits for the gate if it is told to."""

    def prep(self, shared: dict[str, Any]) -> Any:
        return shared

    def exec_stream(self, shared: dict[str, Any]) -> Iterator[str]:
        what, folder = shared["what"], shared["folder"]
        with closing(folder, "Look"):
            if what == "hostile":
                yield from HOSTILE.values()
            if what == "retry" and self.cur_retry == 0:
                yield WRONG
                while not (folder / "gate").exists():
                    time.sleep(0.01)
                raise ValueError("the model broke off")
            yield LOOKING
            while what == "wait" and not (folder / "gate").exists():
                yield ""
                time.sleep(0.01)
            if what == "fail":
                raise ValueError("<b>no</b> way")

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> str:
        return way(shared)


class Approve(StreamNode):
    """Asks in the middle."""

    def prep(self, shared: dict[str, Any]) -> Any:
        return shared

    def exec_stream(self, shared: dict[str, Any]) -> Iterator[Any]:
        with closing(shared["folder"], "Approve"):
            shared["answer"] = yield question(shared)


class Reply(StreamNode):
    """The reply."""

    def prep(self, shared: dict[str, Any]) -> Any:
        return shared

    def exec_stream(self, shared: dict[str, Any]) -> Iterator[str]:
        yield f"Done: {shared['what']}, "
        yield f"{shared.get('answer', 'unasked')}, after {shared['said']} messages."


async def gate(folder: Path) -> None:
    """Wait until it is open."""
    while not (folder / "gate").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


class LookAsync(AsyncStreamNode):
    """`Look`, async."""

    async def prep_async(self, shared: dict[str, Any]) -> Any:
        return shared

    async def exec_stream_async(self, shared: dict[str, Any]) -> AsyncGenerator[str]:
        what, folder = shared["what"], shared["folder"]
        with closing(folder, "Look"):
            if what == "hostile":
                for text in HOSTILE.values():
                    yield text
            if what == "retry" and self.cur_retry == 0:
                yield WRONG
                await gate(folder)
                raise ValueError("the model broke off")
            yield LOOKING
            if what == "wait":
                await gate(folder)
            if what == "fail":
                raise ValueError("<b>no</b> way")

    async def post_async(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> str:
        return way(shared)


class ApproveAsync(AsyncStreamNode):
    """`Approve`, async."""

    async def prep_async(self, shared: dict[str, Any]) -> Any:
        return shared

    async def exec_stream_async(self, shared: dict[str, Any]) -> AsyncGenerator[Any]:
        with closing(shared["folder"], "Approve"):
            shared["answer"] = yield question(shared)


def named(look: BaseNode, approve: BaseNode) -> BaseNode:
    """The nodes, with the same names and ways in both graphs."""
    reply = Reply()
    look.node_name, approve.node_name = "Look", "Approve"
    look - "ask" >> approve >> reply
    look - "reply" >> reply
    return look


flows = {
    "sync": Flow(named(Look(max_retries=2, retry_on=lambda error: "off" in str(error)), Approve())),
    "async": AsyncFlow(
        named(LookAsync(max_retries=2, retry_on=lambda error: "off" in str(error)), ApproveAsync())
    ),
}

chats = {
    kind: gradio.ChatInterface(chat(flow, shared=shared_of), concurrency_limit=None)
    for kind, flow in flows.items()
}

app = FastAPI()
for kind, interface in chats.items():
    gradio.mount_gradio_app(app, interface, path=f"/{kind}")

if __name__ == "__main__":
    chats[sys.argv[1]].launch(server_name="127.0.0.1", server_port=int(sys.argv[2]))
