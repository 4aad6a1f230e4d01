"""Benchmarks: not part of the tests; each prints ratios."""
