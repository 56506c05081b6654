"""Handlers of the files service's endpoints, one module per resource."""
