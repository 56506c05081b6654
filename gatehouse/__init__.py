"""The `gatehouse` command: starts, migrates and extends the suite."""
