"""Cancelling and abandoning, on every path: whatever stops a run, its stream ends well-formed."""
