"""The `gatehouse` command: starts, migrates and extends the suite."""

from gatehouse import place

place.enter()
