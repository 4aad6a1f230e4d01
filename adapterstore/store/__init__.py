"""The store on disk: a bare git repository with Git LFS objects. No torch here."""
