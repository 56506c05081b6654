"""What the OAuth server refuses with: the codes of RFC 6749 and its extensions."""


class OAuthError(Exception):
    """A refusal that has a code of its own in OAuth, as the client is sent it."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        self.code, self.description, self.status = code, description, status
        super().__init__(f"{code}: {description}")

    @property
    def body(self) -> dict[str, str]:
        return {"error": self.code, "error_description": self.description}


class PageError(Exception):
    """A refusal that only the person may see: there is no address that it could safely be sent to."""


def invalid_request(description: str) -> OAuthError:
    return OAuthError("invalid_request", description)


def invalid_grant(description: str) -> OAuthError:
    return OAuthError("invalid_grant", description)


def invalid_client() -> OAuthError:
    return OAuthError("invalid_client", "The client is unknown or disabled, or its secret is wrong.", 401)
