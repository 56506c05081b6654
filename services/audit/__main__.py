from services.audit.app import create_app
from services.audit.settings import Settings
from shared.service import run

run(Settings, create_app)
