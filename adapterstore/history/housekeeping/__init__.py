"""Remove what nothing names, and what must not be kept."""
