"""The same work on flowevents and on its peers, against plain Python.

Run as `make bench-peers`, or as `python -m benchmarks.peers` where the peers are installed;
`benchmarks/README.md` says how to read the tables.

    works.py      what is done, and what flowevents has to reach
    peer.py       a peer, and the ways in which it does the works
    on_*.py       a file for each peer, plain Python and flowevents among them
    concurrent.py many runs at once, and the check that none heard another's
    storage.py    where files are kept
    process.py    what happens in the fresh process of one measurement
    runner.py     round by round, a process for each measurement
    footprint.py  the time of an import
    installed.py  the size on the disk
    report.py     the figures as Markdown and JSON

A new peer is a new `on_*.py` with a `PEER`, a line in `requirements.txt` and one in `MODULES`.
"""
