"""The terminal display: what a person wants to see while a graph runs.

    live.py       TerminalDisplay: the observer, and the thread that draws
    picture.py    Picture: what it leaves on the screen, of a list of events
    sessions.py   from the first event to the end of the last run: a picture, or lines
    terminal.py   a terminal, with the cursor; notebook.py a notebook's cell
    others.py     what others write to the terminal meanwhile
    plain.py      events as plain lines, where nothing can be drawn
    region.py     what is under way; entries.py what stays; tree.py the tree of a run
    phrases.py    the parts of their lines; canvas.py how text fits; line.py a line with styles
    watch.py      the fold of events into what is known; state.py and speech.py what that is

Each uses only those below it, or beside it. From `watch` downward nothing knows rich; from `plain`
downward nothing knows a clock, a thread or a screen.
"""

from flowevents.observers.display.live import TerminalDisplay
from flowevents.observers.display.picture import Picture

__all__ = ["Picture", "TerminalDisplay"]
