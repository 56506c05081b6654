"""The chassis that makes a folder of endpoints a service."""

__version__ = "0.2.0"
