"""The one engine: a generator of effects, its drivers, and the walk over a graph.

From the bottom up; each row uses those above it:

    effects                              what the engine yields, and is raised through it
    options · stop · door · outcome      the run's plain state, each a few fields with one owner
    shape · graph · plan                 what a node's class says; a graph as read; in one run
    delivery · flushing · tasks          number, handlers, consumer; async handlers
    questions · state · step             pure questions; the parts of a run; what is open
    trampoline · groups                  how the engine is resumed; parallel items
    publish · calls · chunks · items     emit; a node's code; a chunk's fast path; batch items
    answers · ask                        what handlers answer; a node asks and waits
    streams · offload · attempts · batches
    arrivals · work · errands · executors
                                         items in workers
    cursor · frame · steps · unwind · walk
    drivers/                             sync and async, with the same verbs
    begin · course                       where a run begins; one execution as a whole

Of a run with a journal, and imported with the first of them:

    notes · inbox · recorder             what is kept; what others want; the way to the journal
    stored_batches · resume · anew       finished items; where a run, or a fork, goes on

A reader who wants to change what happens to an event begins with `delivery`, to a node with
`steps`, to who may drive a run with `drivers/driver`.
"""
