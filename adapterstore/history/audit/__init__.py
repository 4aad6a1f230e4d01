"""Compute again what commits say of themselves, and name what differs."""
