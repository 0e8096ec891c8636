"""ENTER stops what streams, without a thread: what came so far is kept, and the flow goes on."""

import select
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from demos import prompts
from demos.model import Model, open_model
from demos.screen import show, start
from flowevents import Node, StreamFlow, StreamNode

README = Path(__file__).resolve().parent.parent / "README.md"
Shared = dict[str, Any]


class Tell(StreamNode):
    """Tells what the passages say, until the run is asked to pause."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def prep(self, shared: Shared) -> list[Any]:
        return prompts.messages(prompts.TELL, **shared)

    def exec_stream(self, messages: list[Any]) -> Iterator[str]:
        with closing(self.model.stream(messages)) as parts:
            for part in parts:
                yield part
                if self.pause_requested:
                    return

    def post(self, shared: Shared, messages: list[Any], parts: list[str]) -> None:
        shared["told"] = "".join(parts)


class Keep(Node):
    def exec(self, prep_res: Any) -> None:
        pass

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
        show(f"\n(kept {len(shared['told'].split())} words)")


def pressed() -> bool:
    """Whether a line was typed; nobody waits for it."""
    try:
        return bool(select.select([sys.stdin], [], [], 0)[0] and sys.stdin.readline())
    except (OSError, ValueError):  # there is nothing to read from
        return False


def main() -> None:
    passages = [{"file": README.name, "text": README.read_text(encoding="utf-8")}]
    shared: Shared = {"question": "", "passages": passages}
    with open_model() as model:
        show("ENTER stops.\n")
        tell = Tell(model)
        tell >> Keep()
        stream = StreamFlow(tell).run_stream(shared)
        for text in stream:
            show(text, end="")
            if pressed():
                stream.run.pause()


if __name__ == "__main__":
    start(main)
