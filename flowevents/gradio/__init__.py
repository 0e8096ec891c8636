"""A chat over a flow, for Gradio: `gr.ChatInterface(chat(flow))`; needs the extra `gradio`.

The files:

    chat.py       what Gradio calls for each message, and what it holds of a session
    talk.py       a run, from a message over questions and answers to its end
    history.py    what Gradio knows of what was said
    reply.py      which nodes of a graph say the reply
    messages.py   the fold from a run's events to what the chat shows
"""

from __future__ import annotations

from flowevents.errors import MissingExtra

try:
    from flowevents.gradio.chat import chat
except ModuleNotFoundError as _missing:  # Gradio, or what comes with it
    raise MissingExtra(
        "A chat in Gradio needs the package gradio, which is not installed. "
        "Install the extra: pip install flowevents[gradio]"
    ) from _missing

__all__ = ["chat"]
