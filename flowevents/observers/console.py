"""ConsoleAnswers: whoever sits at the terminal, or a pipe, answers a run's questions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from flowevents.asking import Answer
from flowevents.escape import escape_controls
from flowevents.events import Interrupt
from flowevents.observers import figures
from flowevents.observers.keyboard import Keyboard
from flowevents.observers.questions import hint, listed, more_wait, parse, wording

__all__ = ["ConsoleAnswers"]


class ConsoleAnswers:
    """An observer that asks in the terminal and answers with what is typed.

    `flow.run(shared, observers=[TerminalDisplay(), ConsoleAnswers()])` is a whole application. It
    takes a text, yes or no, one of several choices by number or text, and whatever a question's
    `type` needs: numbers as they are, lists and objects as JSON, an empty line for `None`. What
    cannot be understood, or is refused by the question, is asked for again with the reason. The
    end of input (Ctrl-D) leaves the question open; Ctrl-C raises `KeyboardInterrupt`.

    A sync run waits in `on_interrupt`. In an async run the loop goes on, and several questions are
    asked one after the other. It hears live runs only where it is in their `observers`; a replay
    asks nobody unless it is connected to the replay's signals.

    Args:
        source: A text file from which lines are read, by default `sys.stdin`.
        target: A text file to which questions are written, by default `sys.stdout`.
    """

    def __init__(self, *, source: TextIO | None = None, target: TextIO | None = None) -> None:
        self._keyboard = Keyboard(source, target)

    def on_interrupt(self, event: Interrupt) -> Answer[Any] | Awaitable[Answer[Any] | None] | None:
        """The answer, or `None` at the end of input.

        Where an event loop runs in the calling thread it is awaitable; not in a notebook, which
        can only be asked by a call that waits.
        """
        return self._ask(event, None)

    def _ask(
        self, event: Interrupt, reason: str | None
    ) -> Answer[Any] | Awaitable[Answer[Any] | None] | None:
        if _is_in_loop() and not self._keyboard.must_block:
            return self._hold_async(event, reason)
        return self._hold(event, reason)

    def _hold(self, event: Interrupt, reason: str | None) -> Answer[Any] | None:
        with self._keyboard.tty.turn(event) as turn:
            turn.result()
            while True:
                with self._introduced(event, reason) as introduction:
                    line = self._keyboard.read(introduction)
                answer, reason = self._understood(event, line)
                if reason is None:
                    return answer

    async def _hold_async(self, event: Interrupt, reason: str | None) -> Answer[Any] | None:
        with self._keyboard.tty.turn(event) as turn:
            await asyncio.wrap_future(turn)
            await asyncio.sleep(0)  # until those that are asked at the same time wait as well
            while True:
                with self._introduced(event, reason) as introduction:
                    line = await self._keyboard.read_async(introduction)
                answer, reason = self._understood(event, line)
                if reason is None:
                    return answer

    @contextmanager
    def _introduced(self, event: Interrupt, reason: str | None) -> Iterator[str]:
        """Keep the screen; gives the question, where it does not stand there, and the reason."""
        tty = self._keyboard.tty
        with tty.asked(event) as stands:
            lines = [] if stands else _introduction(event)
            if not stands and (waiting := tty.behind((event.run_id, event.id))):
                lines += _indented(more_wait(waiting))
            if reason is not None:
                lines += _indented(reason)
            yield "".join(f"{line}\n" for line in lines)

    def _understood(
        self, event: Interrupt, line: str | None
    ) -> tuple[Answer[Any] | None, str | None]:
        """The answer, `None` for the end of input; or why there is none yet."""
        if line is None:
            return None, None
        try:
            value = parse(event, line)
        except ValueError as error:
            return None, str(error)
        return Answer(value, refused=lambda error: self._ask(event, str(error))), None


def _introduction(event: Interrupt) -> list[str]:
    wanted = hint(event)
    kind = f" for {_one_line(wanted)}" if wanted else ""
    lines = [f"? {_one_line(event.node)}{figures.items(event.items)} asks{kind}"]
    for text in (wording(event.prompt), *listed(event)):
        lines += _indented(text)
    return lines


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in escape_controls(text).split("\n")]


def _one_line(text: str) -> str:
    return escape_controls(text, one_line=True)


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
