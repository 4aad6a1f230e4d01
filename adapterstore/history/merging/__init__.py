"""Bring two histories together: what is in effect on either side, and what becomes of it."""
