"""Training: forget what was, learn what is, keep the rest. Light to import."""
