"""What users do with a store: commit, add, subtract, revert, export, and what they read of it."""
