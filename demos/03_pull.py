"""A flow as a generator inside another generator, which also gets the action that it ends with."""

from collections.abc import Generator, Iterator
from typing import Any

from flowevents import StreamFlow, StreamNode


class Count(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        try:
            for number in ("one", "two", "three"):
                print(f"    (making {number!r})")
                yield number
        finally:
            print("    (closed)")

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: list[str]) -> str:
        return "counted" if len(exec_res) == 3 else "stopped"


def page(shared: dict[str, Any]) -> Generator[str, None, None]:
    """What a web framework would stream to a browser."""
    yield "<p>"
    action = yield from StreamFlow(Count()).run_stream(shared)
    yield f"</p> ended with {action!r}"


for part in page({}):  # nothing is computed before it is asked for
    print(part)

print("Leaving early closes the node:")
stream = page({})
print(next(stream), next(stream))
stream.close()
