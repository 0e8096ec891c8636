"""Flows: routes, names, nesting, batches, overrides, and runs at the same time."""
