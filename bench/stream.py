"""A TCP stream to measure a path with: ``sink PORT`` takes what comes, ``send ADDRESS PORT SECONDS`` prints bytes sent.

Plain on purpose, and the same for both paths that are compared; what it costs itself makes their ratio no better.
"""

from __future__ import annotations

import socket
import sys
import threading
import time

_PIECE = 1 << 20


def sink(port: int) -> None:
    """Accept connections for ever and drop what they bring."""
    listening = socket.create_server(("0.0.0.0", port), backlog=16)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_drop, args=(connection,), daemon=True).start()


def _drop(connection: socket.socket) -> None:
    room = bytearray(_PIECE)
    with connection:
        while connection.recv_into(room):
            pass


def send(address: str, port: int, seconds: float) -> int:
    """Send for so many seconds and return how many bytes went."""
    piece, sent = bytes(_PIECE), 0
    with socket.create_connection((address, port), timeout=5) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(piece)
            sent += _PIECE
    return sent


if __name__ == "__main__":
    if sys.argv[1] == "sink":
        sink(int(sys.argv[2]))
    else:
        sys.stdout.write(f"{send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))}\n")
