"""The ports of a box that accounts may lease."""

FIRST_PORT = 3000  # what a lease takes that names no port
PORTS_PER_USER = 10
