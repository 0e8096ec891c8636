"""What journals keep."""
