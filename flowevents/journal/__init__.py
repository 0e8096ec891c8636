"""The durable log of runs."""
