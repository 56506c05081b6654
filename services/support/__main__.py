from services.support.app import create_app
from services.support.settings import Settings
from shared.service import run

run(Settings, create_app)
