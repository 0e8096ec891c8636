"""The one engine: a generator of effects, its drivers, and the walk over a graph.

    graph.py      what a node's class says, and the names of a graph's nodes
    clock.py      the time that a run goes by
    sequencer.py  numbers, delivery, and what nodes publish themselves
    drivers.py    who answers what the engine yields: sync, async, and parallel items
    steps.py      one step: attempts, streams, batches
    walk.py       from node to node, into nested flows and out again

Each file uses those above it.
"""
