"""Handlers with which admins read, change and preview the texts of mails."""

from sqlmodel import Session

from services.notifications.mail import texts
from services.notifications.mail.rendering import TextFault, check, render
from services.notifications.mail.schemas import (
    ChangeTemplate,
    PreviewOut,
    PreviewTemplate,
    TemplateName,
    TemplateOut,
)
from services.notifications.mail.templates import TEMPLATES, Text
from shared.caller import Caller
from shared.errors import FieldFault, Invalid, NotFound


def list_templates(session: Session) -> list[TemplateOut]:
    """List the templates of mails, with their texts, fields and samples."""
    rows = texts.rows(session)
    return [TemplateOut.of(name, rows.get(name)) for name in TEMPLATES]


def show_template(name: TemplateName, session: Session) -> TemplateOut:
    """Show a template."""
    _require_known(name)
    return TemplateOut.of(name, texts.rows(session).get(name))


def change_template(
    name: TemplateName, body: ChangeTemplate, caller: Caller, session: Session
) -> TemplateOut:
    """Change the text of a template. It is used from the next mail on."""
    _require_known(name)
    try:
        texts.change(session, name, body.text, caller.id)
    except TextFault as fault:
        raise _refusal(fault) from fault
    return show_template(name, session)


def restore_template(name: TemplateName, session: Session) -> TemplateOut:
    """Restore the built-in text of a template."""
    _require_known(name)
    texts.restore(session, name)
    return show_template(name, session)


def preview_template(name: TemplateName, body: PreviewTemplate, session: Session) -> PreviewOut:
    """Fill a template as plain text and HTML, without sending it."""
    _require_known(name)
    now = show_template(name, session)
    text = Text(body.subject or now.subject, body.body or now.body)
    values = {**now.sample, **body.values}
    try:
        check(text, now.sample)
        return PreviewOut.model_validate(render(text, values))
    except TextFault as fault:
        raise _refusal(fault) from fault


def _require_known(name: str) -> None:
    if name not in TEMPLATES:
        raise NotFound


def _refusal(fault: TextFault) -> Invalid:
    message = f"line {fault.line}: {fault.message}"
    return Invalid(errors=[FieldFault(field=fault.part, code="invalid_template", message=message)])
