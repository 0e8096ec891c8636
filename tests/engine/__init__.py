"""The engine underneath: what it does not do, and what does not matter to it."""
