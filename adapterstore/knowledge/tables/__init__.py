"""Tables: rows and columns beside a mapping that says which facts their cells are."""
