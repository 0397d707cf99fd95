"""Small files that survive a power cut at any instant: written beside, then renamed over (atomic on LittleFS)."""
import os
from binascii import crc32

from prosumer.errors import Halt


def save(path, *pieces):
    """CRC-32 (4 bytes, big-endian), then the pieces one after the other. Returns when it is on flash."""
    crc = 0
    for piece in pieces:
        crc = crc32(piece, crc)
    with open(path + "~", "wb") as f:
        f.write(crc.to_bytes(4, "big"))
        for piece in pieces:
            f.write(piece)
    os.rename(path + "~", path)


def load(path):
    """The bytes last saved, or None if there never were any. Halt('flash-corrupt …') if they are damaged."""
    try:
        size = os.stat(path)[6]
    except OSError:
        return None
    with open(path, "rb") as f:
        crc = int.from_bytes(f.read(4), "big")
        data = f.read(max(size - 4, 0))
    if crc32(data) != crc:
        raise Halt("flash-corrupt " + path)
    return data


def exists(path):
    try:
        return os.stat(path) is not None
    except OSError:
        return False


class File:
    """What was saved, to be written on in pieces (as codec.Parts) and never held in memory."""

    def __init__(self, path):
        self._path = path

    def __len__(self):
        return os.stat(self._path)[6] - 4

    @property
    def pieces(self):
        with open(self._path, "rb") as f:
            f.read(4)
            while True:
                piece = f.read(256)
                if not piece:
                    return
                yield piece
