"""Files of the field and deltas: PEFT folders, dense deltas, base models. No torch at import."""
