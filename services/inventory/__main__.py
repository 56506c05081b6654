from services.inventory.app import create_app
from services.inventory.settings import Settings
from shared.service import run

run(Settings, create_app)
