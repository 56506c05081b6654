"""Explains credentials to operators."""

from sqlmodel import Session

from services.auth.explanations.explanations import Explanations
from services.auth.explanations.schemas import ExplainCredential, ExplainedOut
from shared.events import Trail


def explain_credential(
    body: ExplainCredential, session: Session, explanations: Explanations, trail: Trail
) -> ExplainedOut:
    """Explain what a credential is and why it would be refused, without using it."""
    explanation = explanations.of(session, body.credential)
    trail.resource = explanation.account_id
    trail.add(kind=explanation.kind)
    return ExplainedOut.model_validate(explanation)
