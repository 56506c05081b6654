from services.files.app import create_app
from services.files.settings import Settings
from shared.service import run

run(Settings, create_app)
