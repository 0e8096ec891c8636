"""The one engine: a generator of effects, its drivers, and the walk over a graph.

    graph.py      what a node's class says, and the names of a graph's nodes
    clock.py      the time that a run goes by
    effects.py    what the engine yields, and what is raised through it
    step.py       what of a run is open: its steps and items, and the tracks on which they run
    sequencer.py  numbers and delivers the events of a run
    publish.py    what nodes publish themselves
    drivers.py    who answers what the engine yields: sync, async, and parallel items
    calls.py      calls into a node's code, and the end of what was begun
    questions.py  the open questions of a run
    ask.py        a node asks and waits
    streams.py    one attempt of a streaming node: the way of a chunk
    offload.py    plain code in worker threads
    attempts.py   one try of `exec` after the other
    batches.py    the items of a batch
    frame.py      where the walk over a flow's graph is
    walk.py       from node to node, into nested flows and out again
    begin.py      where it begins

Each file uses those above it.
"""
