"""What services agree on without knowing each other."""
