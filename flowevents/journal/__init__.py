"""Journals: the durable, ordered logs of runs.

    records.py    what is in a log, and what is said of a run
    codec.py      values as JSON, which come back as they were
    kept.py       what a record keeps beside its event, for a run that goes on
    shared.py     what of `shared` is kept
    standing.py   where a log stands, for a run that goes on
    store.py      what a store must be able to do
    rows.py       what stores write of a run beside its log
    summary.py    what is said of a run, as its events change it
    lease.py      the right to write a run's log
    keeper.py     the one thread of a journal
    reading.py    a log, portion by portion
    follower.py   the events of a run as they are stored
    mail.py       what is put into the inbox of a run
    ends.py       the ends of a run that nobody drives
    journal.py    Journal: what every journal is
    memory.py     MemoryJournal
    sqlite.py     SQLiteJournal; in connection.py a connection to its file
    redis.py      RedisJournal; in scripts.py what the server does in one step

Most runs have no journal: nothing here is imported before one is made.
"""
