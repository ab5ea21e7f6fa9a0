"""Writes down what an interpreter reaches for: files it writes, addresses, programs it starts.

Python imports this module at its start wherever this folder is on PYTHONPATH. The lines go to the
file that SURFACE_LOG names: the event, and what was reached for. What a library opens in C without
asking Python is not seen here; the kernel of the operating system is asked to refuse that.
"""

import json
import os
import sys

WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
# Where in the arguments of an event its path stands, and where the folder it is relative to.
CHANGES = {
    "os.chmod": [(0, 2)],
    "os.link": [(1, 3)],
    "os.mkdir": [(0, 2)],
    "os.remove": [(0, 1)],
    "os.rename": [(0, 2), (1, 3)],
    "os.rmdir": [(0, 1)],
    "os.symlink": [(1, 2)],
    "os.truncate": [(0, None)],
    "os.utime": [(0, 3)],
    "sqlite3.connect": [(0, None)],
}
ADDRESSES = {"socket.connect": 1, "socket.bind": 1, "socket.sendto": 1}
NAMES = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"}


def watch(log: int) -> None:
    """Begin to write to an open file."""

    def tell(event: str, what: object) -> None:
        os.write(log, (json.dumps([event, what]) + "\n").encode())

    def place(path: object, folder: object) -> str | None:
        """The absolute path, or None for what is open already and for a database in memory."""
        if isinstance(path, int) or path == ":memory:":
            return None
        name = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0:
            name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
        # The last part is not followed: a link is what is made or removed.
        head, tail = os.path.split(os.path.abspath(name))
        return os.path.join(os.path.realpath(head), tail)

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & WRITING and (written := place(path, None)) is not None:
                tell("write", written)
        elif event in CHANGES:
            for at, folder in CHANGES[event]:
                relative_to = None if folder is None else arguments[folder]
                if (written := place(arguments[at], relative_to)) is not None:
                    tell("write", written)
        elif event in ADDRESSES:
            tell("address", arguments[1])
        elif event in NAMES:
            tell("name", arguments[0])
        elif event in PROGRAMS:
            tell("program", [str(word) for word in arguments[:2]])

    sys.addaudithook(hook)


if "SURFACE_LOG" in os.environ:
    watch(os.open(os.environ["SURFACE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT))
