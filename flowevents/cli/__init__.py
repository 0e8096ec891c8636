"""The command line, `flowevents` or `python -m flowevents`; needs the extra `cli`.

    commands.py   the commands, and what they say when something is wrong
    loading.py    MODULE:FLOW as the flow, a JSON file as `shared`, a record as its events
    journals.py   a journal by its place, its runs as lines
    showing.py    a run to its end, or to Ctrl-C: who watches it, and what is said then
    output.py     where they write, and what is said where that fails
    replaying.py  events with the pauses that were between them
    watching.py   a run of another process, shown, and its questions answered
    serving.py    flows over HTTP
    telemetry.py  where traces are sent

What a command needs is imported inside it, so that none pays for another.
"""
