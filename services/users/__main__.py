from services.users.app import create_app
from services.users.settings import Settings
from shared.service import run

run(Settings, create_app)
