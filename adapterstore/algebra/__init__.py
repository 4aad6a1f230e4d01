"""Exact sums of deltas: compositions, and the tensors that they stand for."""
