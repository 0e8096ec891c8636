"""A run: its states, who may drive it, what it gives to whom, and its options."""
