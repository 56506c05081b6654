"""The gateway: one public port in front of all services."""

from gateway import compiled

# Before any other module of the gateway is imported. Empty if the hot ones are loaded as machine code.
WHY_NOT_COMPILED = compiled.use()
