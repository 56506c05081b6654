from shared.service import run
from tests.shared.notes.app import Settings, create_app

run(Settings, create_app)
