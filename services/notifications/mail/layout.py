"""The HTML page around the text of a mail.

Mail clients know tables and inline style best; a style block adds what is for screens alone: dark colours and
narrow windows. Nothing is loaded from anywhere, so opening a mail tells its sender nothing.
"""

import html

from services.notifications.languages import Language

_STYLE = """
:root { color-scheme: light dark; supported-color-schemes: light dark; }
body { margin: 0; padding: 0; background: #fafaf8; }
.ground { background: #fafaf8; }
.sheet { background: #ffffff; border: 1px solid #e7e7e1; border-radius: 10px; }
.sheet, .sheet p, .sheet h1 { color: #1b1d21;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.sheet h1 { font-size: 20px; line-height: 28px; font-weight: 600; margin: 0 0 16px; }
.sheet p { font-size: 15px; line-height: 22px; margin: 0 0 16px; overflow-wrap: anywhere; }
.button { display: inline-block; background: #2c5cc5; color: #ffffff !important; border-radius: 6px;
  padding: 10px 16px; font-weight: 600; text-decoration: none; }
.foot { color: #686c74; font: 12px/16px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.foot a { color: #565a62; }
@media (max-width: 480px) {
  .space { padding: 12px !important; }
  .inner { padding: 20px 16px 8px !important; }
}
@media (prefers-color-scheme: dark) {
  body, .ground { background: #111215 !important; }
  .sheet { background: #18191d !important; border-color: #292b31 !important; }
  .sheet, .sheet p, .sheet h1 { color: #eceae6 !important; }
  .button { background: #3966d2 !important; }
  .foot { color: #9297a1 !important; } .foot a { color: #a9adb6 !important; }
}
"""
_FOOT = {
    Language.ENGLISH: "This mail was sent automatically by Gatehouse.",
    Language.GERMAN: "Diese E-Mail wurde automatisch von Gatehouse gesendet.",
}


def page(title: str, content: str, foot: str | None = None, *, language: Language = Language.ENGLISH) -> str:
    """Return the page; `content` and `foot` are HTML. Without a foot it is that of mails."""
    foot = _FOOT[language] if foot is None else foot
    shown = html.escape(title)
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{shown}</title>
<style>{_STYLE}</style>
</head>
<body>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" class="ground">
<tr><td class="space" align="center" style="padding:32px 16px">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" class="sheet" style="max-width:560px">
<tr><td class="inner" align="left" style="padding:28px 32px 12px">
<h1>{shown}</h1>
{content}
</td></tr></table>
<p class="foot" style="margin:16px 0 0;text-align:center">{foot}</p>
</td></tr></table>
</body>
</html>
"""
