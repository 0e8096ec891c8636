"""Items of a batch in workers: threads, processes, machines; and how their events come back.

From the bottom up:

    parcels                              what travels: an item, its messages, how it ended
    outlet                               what a worker says of one item, in groups, not too fast
    lane                                 the way to the workers of one kind of engine, and back
    channel · line                       a worker process's connection to its driver, both ends
    threads · processes · others         the lanes, each a file
    executor                             what a node was given as `executor=`, and its lane

It knows nothing of runs: what a worker does with an item is a function that it is given
(`flowevents/engine/work.py`), and the driver's side is `flowevents/engine/executors.py`.
"""
