"""The texts of mails: every template is complete, and nothing gets into a mail that does not belong there."""

import email
import email.policy
import re

import pytest

from services.auth.mails import mails as asked_for
from services.notifications.languages import Language
from services.notifications.mail.addresses import BadAddress, read_address
from services.notifications.mail.messages import Attachment, Sender, build
from services.notifications.mail.rendering import TextFault, check, render
from services.notifications.mail.templates import TEMPLATES, TICKET, Text, built_in
from shared.ids import new_id
from tests.notifications.support import MOMENT

SENDER = Sender("no-reply@example.com", "Gatehouse", "help@example.com")
EVIL = (
    "a\r\nBcc: eve@example.com",
    "a\nBcc: eve@example.com\n\nbody",
    "a\x00b",
    "a\u2028Bcc: eve@example.com",
    "a\x1f\x02\x03b",
    "\u202egnirts",
    "<script>alert(1)</script>",
    '"><img src=x>',
    "{{ 7 * 7 }}{% raw %}",
    "\r\n.\r\nMAIL FROM:<eve@example.com>",
)


def test_every_mail_that_auth_asks_for_has_a_template() -> None:
    assert {one.value for one in asked_for.Template} <= set(TEMPLATES)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("language", Language)
def test_built_in_text_is_filled_completely(language: Language, name: str) -> None:
    template, text = TEMPLATES[name], built_in(name, language)
    check(text, template.sample_in(language))
    mail = render(text, template.sample_in(language), language)

    for part in (mail.subject, mail.text, mail.html):
        assert part.strip()
        assert not re.search(r"\{\{|\}\}|\{%|Undefined|[\x00-\x09\x0b-\x1f]", part)
    if "link" in template.fields:
        assert f"\n{template.sample['link']}\n" in mail.text, "people copy it from a line of its own"
        assert f'href="{template.sample["link"]}"' in mail.html


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("language", Language)
def test_missing_field_is_an_error_and_never_an_empty_place(language: Language, name: str) -> None:
    text = built_in(name, language)
    used = [one for one in TEMPLATES[name].fields if re.search(rf"\b{one}\b", f"{text}")]
    for field in used:
        values = {key: value for key, value in TEMPLATES[name].sample.items() if key != field}
        with pytest.raises(TextFault, match=field):
            render(text, values, language)


def test_texts_of_all_languages_use_the_same_fields_and_links() -> None:
    for name, template in TEMPLATES.items():
        english, *others = (f"{built_in(name, language)}" for language in Language)
        for other in others:
            used = [
                [one for one in template.fields if re.search(rf"\b{one}\b", text)]
                for text in (english, other)
            ]
            assert used[0] == used[1], name
            links = [re.findall(r"button\(([^,]*),", text) for text in (english, other)]
            assert links[0] == links[1], name


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("name", ["notice", "test", "factor_added"])
@pytest.mark.parametrize("language", Language)
def test_values_become_neither_headers_nor_markup(language: Language, name: str, evil: str) -> None:
    values = {**TEMPLATES[name].sample, "title": evil, "content": evil, "subject": evil, "body": evil}
    rendered = render(built_in(name, language), {**values, "factor": evil}, language)
    mail = build(new_id(), name, "ann@example.com", MOMENT, rendered, SENDER)
    head, _, rest = mail.content.partition(b"\r\n\r\n")

    names = {line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))}
    assert names == set(
        b"From To Reply-To Subject Date Message-ID Auto-Submitted MIME-Version Content-Type".split()
    )
    assert b"eve@example.com" not in head or "eve" in rendered.subject, "only as words of the subject"
    assert "\n" not in rendered.subject
    assert "<script" not in rendered.html
    assert "<img" not in rendered.html
    assert b"\n.\r\n" not in rest


@pytest.mark.parametrize(
    "source",
    [
        "{{ unknown }}",
        "{% for one in email %}{{ one }}{% endfor %}",
        "{% set email = 'x' %}",
        "{% include 'x' %}",
        "{% macro x() %}{% endmacro %}",
        "{{ email.upper() }}",
        "{{ email.__class__ }}",
        "{{ email['x'] }}",
        "{{ 'a' * 99999999 }}",
        "{{ email ** 2 }}",
        "{{ range(9) }}",
        "{{ email | attr('x') }}",
        "{{ email | replace('a', 'b') }}",
        "{{ button('javascript:alert(1)', 'x') }}",
        "{{ button(email, 'x') }}",
        "{{ button }",
        "{{ " + "not " * 3000 + "email }}",
        "{{ " + "(" * 3000 + "email" + ")" * 3000 + " }}",
        "x" * 16385,
        "",
    ],
    ids=lambda source: source[:30],
)
def test_text_with_anything_else_is_refused_with_its_line(source: str) -> None:
    with pytest.raises(TextFault) as caught:
        check(Text(source, "body") if not source else Text("subject", f"first\n{source}"), {"email": "a@b"})

    assert caught.value.message
    assert caught.value.line in (1, 2)


def test_branch_that_the_sample_does_not_take_is_checked_too() -> None:
    text = Text("subject", "{% if email == 'x' %}{{ unknown }}{% endif %}.")

    with pytest.raises(TextFault, match="unknown"):
        check(text, {"email": "a@b"})


@pytest.mark.parametrize("to", ["ann@example.com", "änn@bücher.example", "a" * 64 + "@" + "b" * 60 + ".com"])
@pytest.mark.parametrize(
    "words",
    ["plain", "→ ü", "long" * 400, "  spaced \n.\nFrom me\n=20", "Mixed: a, b; <c>", "é" * 80 + " end"],
    ids=["plain", "letters", "long", "dots", "marks", "folded"],
)
def test_message_is_read_as_it_was_meant(to: str, words: str) -> None:
    rendered = render(built_in("test"), {**TEMPLATES["test"].sample, "subject": words, "body": words})
    sender, file = Sender("no-reply@example.com", "Gätehouse, Inc."), Attachment("a.pdf", b"\0\xff\r\n" * 99)
    content = build(new_id(), "test", to, MOMENT, rendered, sender, attached=file).content
    read = email.message_from_bytes(content, policy=email.policy.default)
    plain, markup = (read.get_body((one,)) for one in ("plain", "html"))
    (attached,) = read.iter_attachments()

    assert plain
    assert markup
    shown = [one.get_content().replace("\r\n", "\n") for one in (plain, markup)]
    assert shown == [rendered.text, rendered.html]
    assert (attached.get_filename(), attached.get_content()) == (file.name, file.content)
    (recipient,), (own,) = read["To"].addresses, read["From"].addresses
    assert (decoded(recipient.username), recipient.domain) == read_address(to)
    assert (decoded(own.display_name), decoded(read["Subject"])) == (sender.name, rendered.subject)
    assert all(len(line) < 998 for line in content.split(b"\r\n"))
    assert b"\n" not in content.replace(b"\r\n", b"")


def decoded(header: str) -> str:
    """Decode UTF-8, which the standard library leaves as it is in headers (RFC 6532)."""
    return header.encode(errors="surrogateescape").decode()


def test_message_is_the_same_at_every_attempt() -> None:
    mail_id, rendered = new_id(), render(built_in("test"), TEMPLATES["test"].sample)
    one, two = (build(mail_id, "test", "ann@example.com", MOMENT, rendered, SENDER) for _ in range(2))

    assert one == two
    assert f"Message-ID: <{mail_id}@example.com>".encode() in one.content


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "a b@example.com",
        "ann@exam ple.com",
        "ann@example.com\r\nBcc: eve@example.com",
        "ann@example.com, eve@example.com",
        "<ann@example.com>",
        '"ann"@example.com',
        "ann@-example.com",
        "ann@example..com",
        "ann\x00@example.com",
        "a" * 65 + "@example.com",
        "ann@" + "a" * 64 + ".com",
        "ann@" + "a." * 200 + "com",
    ],
)
def test_address_that_could_break_a_header_is_refused(address: str) -> None:
    with pytest.raises(BadAddress):
        read_address(address)


def test_domain_with_other_letters_is_written_in_ascii() -> None:
    assert read_address("ann@bücher.example") == ("ann", "xn--bcher-kva.example")


def test_mail_about_a_ticket_points_to_its_page_only_if_there_is_one() -> None:
    sample = TEMPLATES[TICKET].sample
    shown = render(built_in(TICKET), sample).text
    without = render(built_in(TICKET), {**sample, "url": ""}).text

    assert "page of the ticket" in shown
    assert without.strip() == sample["content"]
    assert "replies" not in shown, "MAIL_REPLY_TO may have them read"
