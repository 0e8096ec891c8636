"""A node that streams, and its text as it comes."""

from collections.abc import Iterator
from typing import Any

from flowevents import StreamFlow, StreamNode


class Greet(StreamNode):
    def prep(self, shared: dict[str, Any]) -> str:
        return str(shared["name"])

    def exec_stream(self, prep_res: str) -> Iterator[str]:
        for word in ["Hello", prep_res, "how", "are", "you?"]:
            yield f"{word} "

    def post(self, shared: dict[str, Any], prep_res: str, exec_res: list[str]) -> None:
        shared["greeting"] = "".join(exec_res)


shared = {"name": "Ada"}
for text in StreamFlow(Greet()).run_stream(shared):
    print(text, end="", flush=True)
print(f"\nshared = {shared}")
