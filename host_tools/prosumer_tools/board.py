"""What the tools know of a board: its board.json, the chip's partition table, and an image grown to its partition.

MicroPython mounts a LittleFS only if it is as long as the partition. From release 1.29 the table ends with the application and the
file system is what follows up to the end of the flash; older tables name it `vfs`.
"""
import json
import struct
from dataclasses import dataclass

from prosumer_tools import image

TABLE_AT = 0x8000
TABLE_BYTES = 0xC00
_ENTRY = struct.Struct("<2sBBII16sI")
_ENTRY_MAGIC = b"\xaa\x50"
_APP = 0


class BoardError(Exception):
    """The board's description or its flash is not what it should be; the text says which."""


@dataclass(frozen=True)
class Board:
    """`chip` is esptool's name, or None for a board that is never flashed; `micropython_offset` is where its image starts."""

    name: str
    march: str
    chip: str | None
    micropython_offset: int
    channels: tuple
    actuators: tuple


def load(name, boards=image.BOARDS):
    """The board of that name; BoardError names the file and the field."""
    path = boards / name / "board.json"
    try:
        description = json.loads(path.read_text())
        return Board(name, description.get("march", "x64"), description.get("chip"), description.get("micropython", {}).get("offset", 0),
                     tuple(description.get("front_end", {}).get("channels", ())), tuple(description.get("actuators", ())))
    except FileNotFoundError:
        known = ", ".join(sorted(p.parent.name for p in boards.glob("*/board.json"))) or "none"
        raise BoardError(f"no board {name}: {path} is missing (boards there are: {known})") from None
    except (ValueError, AttributeError, TypeError) as error:
        raise BoardError(f"{path} does not describe a board: {error}") from None


def file_system_partition(table, flash_bytes):
    """(offset, size) of the file system by a partition table (bytes as at TABLE_AT) on a flash of that size."""
    end = 0
    apps = 0
    for kind, offset, size, label in _entries(table):
        if label in (b"vfs", b"ffat"):
            if offset + size > flash_bytes:
                raise BoardError(f"the file system ends at {offset + size:#x}, beyond this chip's {flash_bytes >> 20} MiB of flash")
            return offset, size
        apps += kind == _APP
        end = max(end, offset + size)
    if not apps:
        raise BoardError("no MicroPython here: there is no partition table with an application")
    if end >= flash_bytes:
        raise BoardError(f"the flash of {flash_bytes >> 20} MiB has no room for a file system behind the application's end at {end:#x}")
    return end, flash_bytes - end


def rom_partition(table):
    """(offset, size) of the partition whose bytecode runs in place, or None: most builds of MicroPython have none."""
    return next(((offset, size) for _, offset, size, label in _entries(table) if label == b"romfs"), None)


def _entries(table):
    for at in range(0, len(table) - _ENTRY.size + 1, _ENTRY.size):
        magic, kind, _, offset, size, label, _ = _ENTRY.unpack_from(table, at)
        if magic != _ENTRY_MAGIC:
            return
        yield kind, offset, size, label.rstrip(b"\0")


def grown(data, size):
    """The LittleFS image `data` made to fill a partition of `size` bytes.

    Returns as many bytes as `data` had: blocks beyond are free, and LittleFS erases a block before it writes it.
    """
    if size < len(data) or size % image.BLOCK_BYTES:
        raise BoardError(f"the file system's partition has {size >> 10} KiB; the image needs {len(data) >> 10} KiB")
    fs = image.filesystem(data)
    fs.context.buffer.extend(b"\xff" * (size - len(data)))
    if size > len(data):
        fs.fs_grow(size // image.BLOCK_BYTES)
    fs.unmount()
    buffer = bytes(fs.context.buffer)
    if buffer[len(data):].strip(b"\xff"):
        raise BoardError("growing the file system wrote beyond the image")
    return buffer[:len(data)]
