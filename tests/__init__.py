"""The tests of flowevents, one file per module."""
