"""What flowevents costs, as ratios against pocketflow, plain blinker and a bare Python loop.

Run as `python -m benchmarks`; `README.md` beside this file says how to read the table.

    measure.py     how two functions are compared; the effort; the check of a result
    table.py       a row, and the rows as Markdown and JSON
    machine.py     one core, and the line that says what was measured on what
    steps.py       an agent loop
    chunks.py      one stream of chunks, sync and async
    concurrent.py  1,000 streams at once
    signals.py     a signal sent by hand
    batches.py     the items of batches
    questions.py   a question and its answer
    queues.py      a slow handler in the background
    journals.py    a run that is stored, resumed and followed
    fleets.py      many runs of one journal
    footprint.py   memory and import time, in processes of their own
"""
