"""The `gatehouse` command: start the suite, migrate it, add to it."""
