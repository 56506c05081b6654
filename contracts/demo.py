"""The marks of the demo company that `gatehouse demo` makes, and the public password of its accounts."""

DOMAIN = "demo.example"  # nobody can own it (RFC 2606)
PASSWORD = "demo company 2026"  # noqa: S105 - public, so auth accepts it only on this machine
MARK = {"demo": "yes"}  # among the attributes of its products
