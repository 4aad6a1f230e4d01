"""What a commit's state is meant to know: the ledger, its index, its history, the suite."""
