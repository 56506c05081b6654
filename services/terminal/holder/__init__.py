"""Holds one shell: its pseudo-terminal, and its latest output by absolute offset.

This package is the only part of the project that runs beside a user's shell, even in containers. It needs
only Python 3.9 and the standard library. It connects out to the service, so restarting the service ends no
shell and loses no output.

    python3 -I -S -B -c PROGRAM '{"terminal": "…", "socket": "…", "argv": ["/bin/sh"], …}' FOLDER_ABOVE
"""

# Appended to sys.path, so that nothing in the directory can shadow the standard library.
PROGRAM = "import sys; sys.path.append(sys.argv[2]); from holder.main import main; main(sys.argv[1])"
RELAY = "import sys; sys.path.append(sys.argv[2]); from holder.relay import main; main(sys.argv[1])"
UNLINKED = "import sys; sys.path.append(sys.argv[2]); from holder.unlinked import main; main(sys.argv[1])"
PORTS_SOCKET = "ports.sock"  # to which the relay connects, beside the socket of the holders
