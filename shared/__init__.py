"""The chassis: what every service is built on."""

__version__ = "0.2.0"
