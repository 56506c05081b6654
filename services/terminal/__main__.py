import sys

from services.terminal.broker.wire import COMMAND

if sys.argv[1:] == [COMMAND]:
    from services.terminal.broker.server import main  # slow to import

    main()
else:
    from services.terminal.app import create_app
    from services.terminal.settings import Settings
    from shared.service import run

    run(Settings, create_app, websockets="direct")
