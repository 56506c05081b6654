"""The state of what the suite depends on, in the form that an older system showed it."""
