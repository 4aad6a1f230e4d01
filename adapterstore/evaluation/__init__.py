"""What a state knows: reliability, generality, locality, retention, forgetting; and the gate."""
