"""Users in an older form: named objects, pages by number, and other names of fields and states."""
