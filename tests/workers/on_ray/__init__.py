"""Items of a batch in a Ray cluster: the scenarios of all engines, and what is Ray's own."""
