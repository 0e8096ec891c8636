"""Human in the loop: Draft writes, Approve asks at the console, until the answer is yes."""

from demos.letter import Shared, letter
from demos.model import open_model
from demos.screen import plain, show, start
from flowevents import Answer, Chunk, Interrupt, Paused


class Console:
    """Shows the draft as it comes, and answers what is asked by what is typed."""

    def on_chunk(self, event: Chunk) -> None:
        show(event.data, end="")

    def on_interrupt(self, event: Interrupt) -> Answer[str] | None:
        try:
            return Answer(input(f"{plain(event.prompt)} "))
        except EOFError:
            return None  # no answer: the run pauses


def main() -> None:
    shared: Shared = {"question": "Lunch on Friday", "wishes": []}
    with open_model() as model:
        try:
            letter(model).run(shared, observers=[Console()])
        except Paused as paused:
            show(f"\n{paused}")


if __name__ == "__main__":
    start(main)
