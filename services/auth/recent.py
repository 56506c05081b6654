"""The recent sign-in required by changes that a stolen session must not be able to make."""

from shared.identity.step_up import StepUp

RECENT = StepUp(max_age=15 * 60)
