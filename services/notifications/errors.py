"""The refusals of the notifications service."""

from shared.errors import BadRequest, Conflict, Forbidden


class AlwaysOn(Conflict):
    """Notifications of this type cannot be switched off on this channel."""

    code = "always_on"


class Duplicate(Conflict):
    """This account was sent a message with this `dedupe_key` already."""

    code = "duplicate"


class NotFailed(Conflict):
    """Only a delivery that failed can be repeated, and only while its content is kept."""

    code = "not_failed"


class Suppressed(Conflict):
    """Nothing is sent to this address; `reason` says why. Lift the suppression first."""

    code = "suppressed"


class NotQueued(Conflict):
    """Only a waiting delivery can be cancelled; `state_now` is its state."""

    code = "not_queued"


class MailsAreOff(Conflict):
    """This installation sends no mails: neither SMTP_URL nor MAIL_TRANSPORT is set."""

    code = "mails_are_off"


class TextsAreOff(Conflict):
    """This installation sends no text messages: neither TWILIO_ACCOUNT_SID nor SMS_TRANSPORT is set."""

    code = "texts_are_off"


class NumberNotAllowed(Conflict):
    """No text messages are sent to this country: its prefix is not in SMS_PREFIXES."""

    code = "number_not_allowed"


class NoCodeSent(Conflict):
    """There is no code that is still valid: enter the phone again."""

    code = "no_code_sent"


class WrongCode(Conflict):
    """This is not the code that was sent."""

    code = "wrong_code"


class BadSignature(Forbidden):
    """The signature does not match; check SENDGRID_WEBHOOK_KEY, or TWILIO_AUTH_TOKEN and PUBLIC_URL."""

    code = "bad_signature"


class BadEvents(BadRequest):
    """This is not a list of events as SendGrid sends them."""

    code = "bad_events"


class BadReport(BadRequest):
    """This is not a message report as Twilio sends it."""

    code = "bad_report"


class TooManyWebhooks(Conflict):
    """An account may have ten webhooks: delete one first."""

    code = "too_many_webhooks"


class WebhookDisabled(Conflict):
    """This webhook is disabled: enable it first."""

    code = "webhook_disabled"


class NotEnded(Conflict):
    """This delivery has not ended yet; `state_now` is its state."""

    code = "not_ended"
