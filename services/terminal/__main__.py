from services.terminal.app import create_app
from services.terminal.settings import Settings
from shared.service import run

run(Settings, create_app, websockets="websockets-sansio")
