from services.orders.app import create_app
from services.orders.settings import Settings
from shared.service import run

run(Settings, create_app)
