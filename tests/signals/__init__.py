"""Subscribing: what can be listened to, who hears what when, and what is left behind."""
