"""`python -m gateway`: the one public port."""

import os
import signal
import sys

import structlog

from gateway import WHY_NOT_COMPILED, compiled
from gateway.clients.connection_limits import allow_descriptors
from gateway.config.routes_file import RoutesFileError
from gateway.forwarding.repeated_heads import RememberingProtocol
from gateway.forwarding.tls import https, refuse_taken_port
from gateway.runtime import workers
from gateway.runtime.certificate import first_certificate
from gateway.runtime.process_status import WORKER
from gateway.runtime.reload import first_keys, first_table
from gateway.settings import Settings
from gateway.site.app import create_app
from shared.process.observe import configure_logging, log_start
from shared.process.server import serve
from shared.process.settings import SettingsError, exit_on_bad_settings

log = structlog.get_logger(__name__)


def main() -> None:
    if sys.argv[1:]:
        from gateway import cli

        sys.exit(cli.main(sys.argv[1:]))
    try:
        is_required = compiled.is_required()
    except ValueError as error:
        sys.exit(str(error))
    if WHY_NOT_COMPILED and is_required:
        sys.exit(f"{compiled.WISH} is true, but there are no compiled modules: {WHY_NOT_COMPILED}.")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # ignored until there is something to reload
    try:
        settings = Settings.load()
        configure_logging(settings)
        table = first_table(settings)
        api_keys = first_keys(settings, table)
        certificate = first_certificate(settings)
    except SettingsError as error:
        exit_on_bad_settings(error)
        return
    except RoutesFileError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    allow_descriptors()
    if WORKER not in os.environ:
        log_start(settings, compiled=not WHY_NOT_COMPILED)
        if WHY_NOT_COMPILED not in ("", compiled.ABSENT, compiled.OFF):
            log.warning("compiled_modules_unused", reason=WHY_NOT_COMPILED)
        refuse_taken_port(settings)
        if settings.workers > 1:
            sys.exit(workers.run(settings))
    app = create_app(settings, table, api_keys)
    serve(app, settings, protocol=RememberingProtocol, opening=https(certificate))


if __name__ == "__main__":
    main()
