"""Signals: who hears what, in which order, and that nothing is left of it."""
