"""`prosumer flash --board NAME --port PORT`: esptool writes MicroPython (if given) and our file system, and verifies both.

Where the file system lies comes from the chip's own partition table. A file system that is there already may hold a meter's key
and registers, so it is replaced only with --replace. An enrolled meter gets new firmware with --update: over mpremote, the files that
differ, and nothing else is touched.
"""
import hashlib
import json
import sys
import tempfile
from pathlib import Path

from prosumer_tools import board as boards
from prosumer_tools import image
from prosumer_tools.meter_port import PortError, check_answers, mpremote, watch

_MAGIC = b"littlefs"
_BOOT_S = 90
# The watchdog of an interrupted meter goes on: ten minutes are enough for any update.
_CALM = "import machine; machine.WDT(timeout=600000)"
# On the meter: which of these files are there, and as what.
_SUMS = """
import hashlib, json
def sums(paths):
    buf, out = bytearray(1024), {}
    for path in paths:
        try:
            with open(path, "rb") as f:
                h = hashlib.sha256()
                n = f.readinto(buf)
                while n:
                    h.update(memoryview(buf)[:n])
                    n = f.readinto(buf)
            out[path] = h.digest().hex()
        except OSError:
            pass
    return out
print(json.dumps(sums(json.loads(%r))))
"""
_SWAP = """
import os
for n in %r:
    os.rename(n + "~", n)
for n in %r:
    os.remove(n)
print("swapped")
"""


class FlashError(Exception):
    """Nothing was written, or what was written is wrong; the text says which and what to do."""


def add_parser(subparsers):
    parser = subparsers.add_parser("flash", help="write MicroPython and the firmware to a real board", description=__doc__)
    parser.add_argument("--board", required=True, metavar="NAME", help="a folder of boards/")
    parser.add_argument("--port", required=True, help="serial port of the board, for instance /dev/ttyACM0")
    parser.add_argument("--micropython", type=Path, metavar="FILE.bin", help="MicroPython for this chip, from micropython.org/download")
    parser.add_argument("--image", type=Path, help="a file system built before (default: build it now)")
    parser.add_argument("--chip", help="esptool's name of the chip, where it is not the board's usual one")
    parser.add_argument("--baud", type=int, default=460800, help="speed after the connection stands (default: 460800)")
    parser.add_argument("--replace", action="store_true", help="replace a file system, with the key and registers in it, if there is one")
    parser.add_argument("--update", action="store_true", help="new firmware for an enrolled meter: its key, registers and settings stay")
    parser.set_defaults(run=run)


def run(args):
    return _update(args) if args.update else _flash(args)


def _flash(args):
    from esptool.util import FatalError  # not at the top: `prosumer --help` should not wait for esptool
    from serial import SerialException
    try:
        board = boards.load(args.board)
        if not (args.chip or board.chip):
            raise FlashError(f"{board.name} has no chip to flash; run it with: prosumer emulate {board.name}")
        files = args.image.read_bytes() if args.image else image.build_image(board.name, board.march).path.read_bytes()
        micropython = args.micropython.read_bytes() if args.micropython else None
        offset, size = flash(args.port, args.chip or board.chip, board.micropython_offset, micropython, files, args.baud, args.replace)
    except (boards.BoardError, image.ImageError, FlashError) as error:
        return _fail(error)
    except (FatalError, SerialException) as error:
        return _fail(f"{args.port}: {error}\n(hold BOOT while pressing RESET, close every program that uses the port, try again)")
    except OSError as error:
        return _fail(f"{error.filename or args.port}: {(error.strerror or str(error)).lower()}")
    print(f"{board.name} on {args.port}: file system at {offset:#x}, {size >> 10} KiB, written and verified"
          + (", MicroPython too" if micropython else ""))
    print(f"next: prosumer provision {args.port} --name NAME --broker HOST")
    return 0


def _fail(text):
    print(f"prosumer flash: {text}", file=sys.stderr)
    return 2


def flash(port, chip, micropython_offset, micropython, files, baud=460800, replace=False):
    """Write and verify; (offset, size) of the file system's partition. FlashError, BoardError, or esptool's FatalError."""
    from esptool import cmds
    table = micropython and _table_of(micropython, micropython_offset)
    esp = cmds.detect_chip(port)
    try:
        found = esp.CHIP_NAME.lower().replace("-", "")
        if found != chip:
            raise FlashError(f"the chip on {port} is {esp.CHIP_NAME}, the board's is {chip}: nothing was written")
        cmds.attach_flash(esp)
        flash_bytes = cmds.flash_size_bytes(cmds.detect_flash_size(esp) or "")
        if not flash_bytes:
            raise FlashError(f"{port}: the size of the flash cannot be read")
        try:
            offset, size = boards.file_system_partition(table or _read(cmds, esp, boards.TABLE_AT, boards.TABLE_BYTES), flash_bytes)
        except boards.BoardError as error:
            raise FlashError(str(error) if table else f"{error}; give its image with --micropython") from None
        if not replace and _MAGIC in _read(cmds, esp, offset, image.BLOCK_BYTES):
            raise FlashError("there is a file system on this board, perhaps with a meter's key and registers, which cannot be made again; "
                             "--replace does away with it")
        parts = [(offset, boards.grown(files, size))]
        if micropython:
            parts.insert(0, (micropython_offset, micropython))
        esp = cmds.run_stub(esp)
        if baud > esp.ESP_ROM_BAUD and "://" not in port:
            esp.change_baud(baud)
        cmds.attach_flash(esp)
        cmds.write_flash(esp, parts)
        cmds.verify_flash(esp, parts)
        cmds.reset_chip(esp, "hard-reset")
    finally:
        esp._port.close()
    return offset, size


def _table_of(micropython, offset):
    """The partition table inside a MicroPython image that starts at `offset` of the flash."""
    if micropython[:1] != b"\xe9":
        raise FlashError("the MicroPython file is no ESP32 image (it starts with e9); take the .bin, not the .uf2 or .app-bin")
    return micropython[boards.TABLE_AT - offset:][:boards.TABLE_BYTES]


def _read(cmds, esp, offset, size):
    """By the ROM loader: slower than the stub, and these are few bytes."""
    return cmds.read_flash(esp, offset, size, None, no_progress=True)


def _update(args):
    try:
        board = boards.load(args.board)
        data = args.image.read_bytes() if args.image else image.build_image(board.name).path.read_bytes()
        changed = update(args.port, files_of(data))
    except (boards.BoardError, image.ImageError, FlashError, PortError) as error:
        return _fail(error)
    except OSError as error:
        return _fail(f"{error.filename}: {(error.strerror or str(error)).lower()}")
    print(f"{board.name} on {args.port}: " + (f"{len(changed)} files brought up to date" if changed else "nothing to do"))
    return 0


def files_of(data):
    """{path: bytes} of a LittleFS image."""
    fs = image.filesystem(data)
    files = {}
    for folder, _, names in fs.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with fs.open(path, "rb") as file:
                files[path] = file.read()
    return files


def update(port, files):
    """Bring the files that differ, compare them, then rename them all; the paths. The meter restarts and must show that it boots."""
    check_answers(port)
    mpremote(port, "exec", _CALM)
    sources = [path[:-4] + ".py" for path in files if path.endswith(".mpy")]  # these would be imported in place of the bytecode
    there = _sums(port, [*files, *sources])
    changed = [path for path, data in files.items() if there.get(path) != hashlib.sha256(data).hexdigest()]
    stale = [path for path in sources if path in there]
    if not changed and not stale:
        mpremote(port, "reset", soft_reset=False)
        return []
    with tempfile.TemporaryDirectory() as folder:
        command = []
        for parent in sorted({path.rpartition("/")[0] for path in changed} - {""}):
            command += ["exec", f"import os\ntry: os.mkdir({parent!r})\nexcept OSError: pass", "+"]
        for number, path in enumerate(changed):
            local = Path(folder) / str(number)
            local.write_bytes(files[path])
            command += ["fs", "cp", str(local), f":{path}~", "+"]
        if command:
            mpremote(port, *command[:-1], soft_reset=False)
    arrived = _sums(port, [path + "~" for path in changed])
    for path in changed:
        if arrived.get(path + "~") != hashlib.sha256(files[path]).hexdigest():
            raise FlashError(f"{path} did not arrive as it was sent; the meter keeps the firmware it had")
    mpremote(port, "exec", _SWAP % (changed, stale), "+", "reset", soft_reset=False)
    last, lines = watch(port, _BOOT_S, lambda line: line == "runs" or line.startswith(("not enrolled", "HALT:")))
    if last is None or last.startswith("HALT:"):
        raise FlashError(f"the new firmware is there, but the meter does not run: {' / '.join(lines[-3:]) or 'it said nothing'}")
    return changed + stale


def _sums(port, paths):
    output = mpremote(port, "exec", _SUMS % json.dumps(paths), soft_reset=False)
    try:
        return json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise PortError(f"the meter on {port} answered {output.strip()[-80:]!r}") from None
