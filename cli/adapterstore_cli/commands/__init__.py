"""The verbs: each module has one click command named ``command``."""
