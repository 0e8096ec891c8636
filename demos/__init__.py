"""Demos of flowevents: numbered ones of one screen each, and an agent (`make demo`)."""
