"""Items of a batch in workers: the same scenarios on every engine, sync and async."""
