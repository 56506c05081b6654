from services.notifications.app import create_app
from services.notifications.settings import Settings
from shared.service import run

run(Settings, create_app)
