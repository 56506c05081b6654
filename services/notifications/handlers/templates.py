"""Handlers with which admins read, change and preview the texts of mails."""

from sqlmodel import Session

from services.notifications.mail import texts
from services.notifications.mail.rendering import TextFault, check, render
from services.notifications.mail.schemas import (
    ChangeTemplate,
    OfLanguage,
    PreviewOut,
    PreviewTemplate,
    TemplateName,
    TemplateOut,
)
from services.notifications.mail.templates import TEMPLATES, Text
from shared.caller import Caller
from shared.errors import FieldFault, Invalid, NotFound
from shared.events import Trail


def list_templates(query: OfLanguage, session: Session) -> list[TemplateOut]:
    """List the templates of mails in a language, with their texts, fields and samples."""
    rows = texts.rows(session, query.language)
    return [TemplateOut.of(name, query.language, rows.get(name)) for name in TEMPLATES]


def show_template(name: TemplateName, query: OfLanguage, session: Session) -> TemplateOut:
    """Show a template in a language."""
    _require_known(name)
    return TemplateOut.of(name, query.language, texts.rows(session, query.language).get(name))


def change_template(
    name: TemplateName,
    query: OfLanguage,
    body: ChangeTemplate,
    caller: Caller,
    session: Session,
    trail: Trail,
) -> TemplateOut:
    """Change the text of a template in a language. It is used for mails that are queued from now on."""
    _require_known(name)
    trail.add(language=query.language)
    try:
        texts.change(session, name, query.language, body.text, caller.id)
    except TextFault as fault:
        raise _refusal(fault) from fault
    return show_template(name, query, session)


def restore_template(name: TemplateName, query: OfLanguage, session: Session, trail: Trail) -> TemplateOut:
    """Restore the built-in text of a template in a language."""
    _require_known(name)
    trail.add(language=query.language)
    texts.restore(session, name, query.language)
    return show_template(name, query, session)


def preview_template(
    name: TemplateName, query: OfLanguage, body: PreviewTemplate, session: Session
) -> PreviewOut:
    """Fill a template as plain text and HTML, without sending it."""
    _require_known(name)
    now = show_template(name, query, session)
    text = Text(body.subject or now.subject, body.body or now.body)
    values = {**now.sample, **body.values}
    try:
        check(text, now.sample)
        return PreviewOut.model_validate(render(text, values, query.language))
    except TextFault as fault:
        raise _refusal(fault) from fault


def _require_known(name: str) -> None:
    if name not in TEMPLATES:
        raise NotFound


def _refusal(fault: TextFault) -> Invalid:
    message = f"line {fault.line}: {fault.message}"
    return Invalid(errors=[FieldFault(field=fault.part, code="invalid_template", message=message)])
