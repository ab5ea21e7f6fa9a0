"""`python loopback.py COMMAND...`: put the loopback interface up, and become the command.

In a network namespace of its own a program has that interface and no other, and it is down until
somebody puts it up. With it up, processes in the namespace can speak to each other, as the ranks of
torch.distributed do, and nothing outside of it can be reached all the same.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

READ_FLAGS, WRITE_FLAGS, UP = 0x8913, 0x8914, 0x1  # of Linux: SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
REQUEST = "16sh22x"  # struct ifreq: the name of an interface, its flags, and room


def put_up(name: str = "lo") -> None:
    """Put an interface up; as its owner, which root is in a namespace of its own."""
    import fcntl  # Unix only

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack(REQUEST, name.encode(), 0)
        _, flags = struct.unpack(REQUEST, fcntl.ioctl(any_socket, READ_FLAGS, asked))
        fcntl.ioctl(any_socket, WRITE_FLAGS, struct.pack(REQUEST, name.encode(), flags | UP))


if __name__ == "__main__":
    put_up()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the program is the caller's own
