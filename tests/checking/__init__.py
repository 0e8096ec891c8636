"""What `flowevents.testing` gives users: its rules of a stream, and its stand-ins."""
