"""Files in an older form: named objects, pages by number, and other names of fields."""
