"""Runs that go on in the background, started in every place where they can be."""
