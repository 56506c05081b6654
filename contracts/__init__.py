"""What services share without importing each other."""
