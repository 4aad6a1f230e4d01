"""The generated pages of docs/, and the check that they are up to date."""
