"""Durable runs: what is stored, where a run goes on, and what comes from elsewhere."""
