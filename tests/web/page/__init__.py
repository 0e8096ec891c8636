"""The page of `RunServer`, as a person has it: in a real Chromium."""
