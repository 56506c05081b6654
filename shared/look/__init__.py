"""The look that all pages share: colours, sizes and fonts, and the elements of the console and of sign-in."""

from pathlib import Path

TOKENS = Path(__file__).with_name("tokens.css")
BASE = Path(__file__).with_name("base.css")
