"""Whether a program could listen on a port."""

import socket


def fault_of_binding(host: str, number: int) -> OSError | None:
    """Return why nothing can listen there now; None if something can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None
