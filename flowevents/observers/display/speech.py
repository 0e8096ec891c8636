"""What one attempt of a step has said: its text, what is no text, and how fast it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from flowevents.observers import figures
from flowevents.plain import text_in

__all__ = ["OUTPUT", "Block", "Speech", "labelled"]

OUTPUT: Final = "output"
_LEAST: Final = 0.2  # seconds
_WINDOW: Final = 4_096  # characters; the tail begins at a multiple, so that its lines stand still


@dataclass(slots=True)
class Block:
    """Pieces of one kind that came in a row.

    Attributes:
        kind: The chunks' kind.
        pieces: Of a text, what is to be joined; otherwise the one value as it is written.
        is_text: Whether it streams: str data of kind "output".
    """

    kind: str
    pieces: list[str]
    is_text: bool

    def text(self) -> str:
        """All of it."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0]

    def tail(self, length: int) -> str:
        """The end of it, of at least `length` characters where there are so many.

        It begins at the beginning of a line, or of a window of a long one.
        """
        text = self.text()
        if len(text) <= length:
            return text
        begin = len(text) - length
        return text[max(text.rfind("\n", 0, begin) + 1, begin - begin % _WINDOW) :]


@dataclass(slots=True)
class Speech:
    """The chunks of one attempt.

    Attributes:
        blocks: What was said and stands on the screen only for now, in order.
        shown: What was said before that, and stays on the screen already.
        said: Whether there was anything.
        chunks: How many chunks of text there were.
        first, last: The `time` of the first and last of them, in seconds since the epoch; the first
            as if nobody had been asked since.
    """

    blocks: list[Block] = field(default_factory=list)
    shown: list[Block] = field(default_factory=list)
    said: bool = False
    chunks: int = 0
    first: float = 0.0
    last: float = 0.0

    def add(self, data: object, kind: str, time: float) -> None:
        """Take a chunk."""
        self.said = True
        blocks, text = self.blocks, text_in(data)
        if text is not None and kind == OUTPUT:
            self.chunks += 1
            self.last = time
            if self.chunks == 1:
                self.first = time
            if blocks and blocks[-1].is_text:
                blocks[-1].pieces.append(text)
            else:
                blocks.append(Block(kind, [text], True))
        else:
            blocks.append(Block(kind, [figures.value(data)], False))

    def pause(self, seconds: float) -> None:
        """Do not count the time in which a person was asked."""
        self.first += max(0.0, seconds)

    def rate(self) -> float | None:
        """Chunks of text per second, from the first to the last one; `None` for what came at once.

        Of less than 0.2 seconds it would be no figure.
        """
        spent = round(self.last - self.first, 3)
        return (self.chunks - 1) / spent if self.chunks > 1 and spent >= _LEAST else None


def labelled(block: Block, text: str) -> str:
    """The text of a block, or a part of it, with the kind where that is not "output"."""
    return text if block.kind == OUTPUT else f"{block.kind}: {text}"
