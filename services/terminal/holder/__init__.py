"""Holds one shell: its terminal, and the last bytes that it printed, by their offset since it began.

This folder is the only part of the project that runs beside a user's shell, also inside containers. It needs
nothing but Python 3.9. It connects out to the service, so that a restart of that ends no shell, and no byte
is lost.

    python3 -I -S -B -c PROGRAM '{"terminal": "…", "socket": "…", "argv": ["/bin/sh"], …}' FOLDER_ABOVE
"""

# Behind the standard library, in whose place nothing may come from the folder.
PROGRAM = "import sys; sys.path.append(sys.argv[2]); from holder.main import main; main(sys.argv[1])"
