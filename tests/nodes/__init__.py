"""Nodes: streams in all their forms, retries, batches, `emit` and `progress`, copies."""
