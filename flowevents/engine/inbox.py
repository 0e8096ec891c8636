"""What others want of a run by its journal: answers to its questions, and that it pauses.

Only this file writes the fields of `Inbox`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from flowevents.engine.questions import Questions
from flowevents.errors import ReplyError
from flowevents.events import Reply

if TYPE_CHECKING:
    from flowevents.journal.lease import Lease
    from flowevents.journal.records import Message

__all__ = ["Inbox"]

logger: Final = logging.getLogger("flowevents")


class Inbox:
    """Hands on what waits in the inbox of a run.

    Args:
        lease: That of the run.
        questions: Its questions.
    """

    __slots__ = ("_answers", "_lease", "_questions")

    def __init__(self, lease: Lease, questions: Questions) -> None:
        self._lease = lease
        self._questions = questions
        self._answers: dict[str, Message] = {}  # that were taken, by their question

    def answer(self, event: Reply) -> Message | None:
        """Return the message that has led to this event, if one has."""
        return self._answers.get(event.id)

    def remove(self, answer: Message) -> None:
        """Note that this answer has left the inbox, with its `Reply`."""
        assert answer.question is not None
        del self._answers[answer.question]

    def hear(self, message: Message) -> bool:
        """Take an answer, or a request to pause, that came from elsewhere; from any thread.

        Whether it is an answer that was taken.
        """
        if message.kind == "pause":
            self._questions.request_pause()
            self._lease.drop(message)
        elif message.kind == "reply" and message.question is not None:
            id = message.question
            if id in self._questions.open:
                return self._take(message, id)
            if id not in self._answers and not self._questions.may_take(id):
                self._lease.drop(message)  # its code was left meanwhile
        return False

    def _take(self, message: Message, id: str) -> bool:
        """Take an answer, once; whether the node's own type does so, too."""
        with self._questions.lock:
            if id in self._answers:
                return False  # it was heard before
            self._answers[id] = message
        try:
            self._questions.reply(message.value, id)
        except ReplyError as refused:
            del self._answers[id]
            logger.warning("Run %s: an answer was refused. %s", self._lease.run_id, refused)
            self._lease.drop(message)
            return False
        return True
