"""The dashboard: a few numbers of every service on one page."""
