"""Nodes that ask: pauses, answers, expiry and cancels, in every form of a node and of a flow."""
