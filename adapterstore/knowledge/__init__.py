"""Facts: the files they land in, contradictions between them, and the ledger. No torch here."""
