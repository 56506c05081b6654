"""Notifications in an older form: pages by number, and other names of fields."""
