"""Tickets and reviews in an older form: named objects, pages by number, and other names of times."""
