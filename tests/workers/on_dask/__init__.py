"""Items of a batch in a Dask cluster: the scenarios of all engines, and what is Dask's own."""
