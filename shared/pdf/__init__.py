"""PDF documents for people and for archives, rendered in a process of their own."""
