from services.auth.app import create_app
from services.auth.settings import Settings
from shared.service import run

run(Settings, create_app)
