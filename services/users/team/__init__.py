"""The team directory: who works on what, shown to each audience as far as the person allows."""
