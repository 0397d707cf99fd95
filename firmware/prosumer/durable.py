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
        with open(path, "rb") as f:
            data = f.read()
    except OSError:
        return None
    if len(data) < 4 or crc32(data[4:]) != int.from_bytes(data[:4], "big"):
        raise Halt("flash-corrupt " + path)
    return data[4:]
