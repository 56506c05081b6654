"""The refusals of the OAuth server, with the codes of RFC 6749 and its extensions."""


class OAuthError(Exception):
    """A refusal with an OAuth error code, sent to the client."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        self.code, self.description, self.status = code, description, status
        super().__init__(f"{code}: {description}")

    @property
    def body(self) -> dict[str, str]:
        return {"error": self.code, "error_description": self.description}


class PageError(Exception):
    """A refusal shown only to the person, because there is no safe URL to redirect it to."""


def invalid_request(description: str) -> OAuthError:
    return OAuthError("invalid_request", description)


def invalid_grant(description: str) -> OAuthError:
    return OAuthError("invalid_grant", description)


def invalid_client() -> OAuthError:
    return OAuthError("invalid_client", "The client is unknown or disabled, or its secret is wrong.", 401)
