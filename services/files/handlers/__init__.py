"""What the endpoints of the files service do, one module per resource."""
