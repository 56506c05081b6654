"""The look that all pages share: colours, sizes and fonts. The gateway and auth serve this one file."""

from pathlib import Path

TOKENS = Path(__file__).with_name("tokens.css")
