"""The ports of a box that accounts may lease."""

FIRST_PORT = 3000  # the first port for leases that name none
PORTS_PER_USER = 10
