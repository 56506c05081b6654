"""Registration, sign-in, OAuth and clients in an older form: named objects, pages by number, and JSON."""
