"""Settings that people store through the API; those of the process are in `settings.py`."""
