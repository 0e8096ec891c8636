"""A chat through LiteLLM: Listen reads a line, Talk streams the reply; the end of input ends it.

Typed, or piped:

    echo "My cat is called Tom." | .venv/bin/python demos/07_litellm.py
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

from demos.model import Model, open_model
from demos.screen import show, start
from flowevents import Chunk, Flow, Node, NodeStart, StreamNode

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no download at import
import litellm

litellm.suppress_debug_info = True

Shared = dict[str, Any]


class Listen(Node):
    def exec(self, prep_res: None) -> str:
        print("You:   ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or not sys.stdin.isatty():
            show(line.strip())
        return line

    def post(self, shared: Shared, prep_res: None, exec_res: str) -> str:
        if not exec_res:
            return "leave"
        shared["messages"].append({"role": "user", "content": exec_res.strip()})
        return "talk"


class Leave(Node):
    def exec(self, prep_res: None) -> None:
        print("Bye!")


class Talk(StreamNode):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def prep(self, shared: Shared) -> list[dict[str, str]]:
        return list(shared["messages"])

    def exec_stream(self, prep_res: list[dict[str, str]]) -> Iterator[str]:
        parts: Any = litellm.completion(
            model=f"openai/{self.model.model}",
            messages=prep_res,
            api_base=self.model.base_url,
            api_key=self.model.api_key,
            timeout=self.model.timeout,
            stream=True,
        )
        for part in parts:
            yield part.choices[0].delta.content or ""

    def post(self, shared: Shared, prep_res: list[dict[str, str]], exec_res: list[str]) -> None:
        shared["messages"].append({"role": "assistant", "content": "".join(exec_res)})
        print()


def main() -> None:
    with open_model() as model:
        listen, talk = Listen(), Talk(model)
        listen - "talk" >> talk >> listen
        listen - "leave" >> Leave()
        talk.on(NodeStart)(lambda event: show("Model: ", end=""))
        talk.on(Chunk)(lambda event: show(event.data, end=""))
        Flow(listen).run({"messages": []})


if __name__ == "__main__":
    start(main)
