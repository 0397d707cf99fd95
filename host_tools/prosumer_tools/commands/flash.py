"""`prosumer flash --board NAME --port PORT`: esptool writes MicroPython (if given) and our file system, and verifies both.

Where the file system lies comes from the chip's own partition table; where that names a `romfs` partition the bytecode goes there, to
run in place. A file system that is there already may hold a meter's key and registers, so it is replaced only with --replace. An
enrolled meter gets new firmware with --update: over mpremote, what differs, and nothing else is touched.
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
for n in %r:
    try:
        os.rmdir(n)
    except OSError:
        pass
print("swapped")
"""
# Has this build a ROMFS partition, and what is in its first so many bytes?
_HAS_ROM = "import vfs\nprint(hasattr(vfs, 'rom_ioctl') and vfs.rom_ioctl(1) > 0)"
_ROM_SUM = "import hashlib, vfs\nprint(hashlib.sha256(memoryview(vfs.rom_ioctl(2, 0))[:%d]).digest().hex())"


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
        micropython = args.micropython.read_bytes() if args.micropython else None
        parts = flash(args.port, args.chip or board.chip, board.micropython_offset, micropython, lambda rom: _images(args, board, rom),
                      args.baud, args.replace)
    except (boards.BoardError, image.ImageError, FlashError) as error:
        return _fail(error)
    except (FatalError, SerialException) as error:
        return _fail(f"{args.port}: {error}\n(hold BOOT while pressing RESET, close every program that uses the port, try again)")
    except OSError as error:
        return _fail(f"{error.filename or args.port}: {(error.strerror or str(error)).lower()}")
    print(f"{board.name} on {args.port}: " + ", ".join(f"{what} at {offset:#x}, {size >> 10} KiB" for what, offset, size in parts)
          + ", written and verified" + (", MicroPython too" if micropython else ""))
    print(f"next: prosumer provision {args.port} --name NAME --broker HOST")
    return 0


def _fail(text):
    print(f"prosumer flash: {text}", file=sys.stderr)
    return 2


def _images(args, board, rom):
    """(bytes of the file system, bytes of the ROMFS or None): those given, or built for a MicroPython with or without a ROMFS (`rom`)."""
    path = args.image or image.build_image(board.name, board.march, rom=rom).path
    beside = image.rom_beside(path)
    files = path.read_bytes()
    if not beside.is_file():
        return files, None
    if not rom:
        raise FlashError(f"{path.name} has its bytecode in {beside.name}, and this MicroPython has no romfs partition for it")
    return files, beside.read_bytes()


def flash(port, chip, micropython_offset, micropython, images, baud=460800, replace=False):
    """Write and verify; [(what, offset, size of its partition)]. FlashError, BoardError, or esptool's FatalError.

    `images(rom)`: the images for a chip with or without a ROMFS partition, as `_images`.
    """
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
            table_there = table or _read(cmds, esp, boards.TABLE_AT, boards.TABLE_BYTES)
            offset, size = boards.file_system_partition(table_there, flash_bytes)
        except boards.BoardError as error:
            raise FlashError(str(error) if table else f"{error}; give its image with --micropython") from None
        if not replace and _MAGIC in _read(cmds, esp, offset, image.BLOCK_BYTES):
            raise FlashError("there is a file system on this board, perhaps with a meter's key and registers, which cannot be made again; "
                             "--replace does away with it")
        rom_partition = boards.rom_partition(table_there)
        files, rom = images(rom_partition is not None)
        parts, done = [(offset, boards.grown(files, size))], [("file system", offset, size)]
        if rom:
            if len(rom) > rom_partition[1]:
                raise FlashError(f"the romfs partition has {rom_partition[1] >> 10} KiB; the bytecode needs {-(-len(rom) >> 10)} KiB")
            parts.append((rom_partition[0], rom))
            done.append(("ROMFS", *rom_partition))
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
    return done


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
        if args.image:
            args.image.stat()  # before the meter is stopped
        check_answers(args.port)
        mpremote(args.port, "exec", _CALM)
        has_rom = mpremote(args.port, "exec", _HAS_ROM, soft_reset=False).strip() == "True"
        files, rom = _images(args, board, has_rom)
        changed = update(args.port, files_of(files), rom)
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


def update(port, files, rom=None):
    """Bring the files that differ, compare them, write `rom` where it differs, then rename the files; what changed, by path.

    The meter restarts and must show that it boots. A power cut while the ROMFS is written leaves a meter that waits in its REPL to
    be updated again; its key and registers lie elsewhere.
    """
    bytecode = ["/" + path for path in image.romfs_files(rom)] if rom else [path for path in files if path.endswith(".mpy")]
    shadows = [path[:-4] + ".py" for path in bytecode] + (bytecode if rom else [])  # these would be imported in place of the bytecode
    there = _sums(port, [*files, *shadows])
    changed = [path for path, data in files.items() if there.get(path) != hashlib.sha256(data).hexdigest()]
    stale = [path for path in shadows if path in there]
    rom_changed = rom and _rom_sum(port, rom) != hashlib.sha256(rom).hexdigest()
    if not (changed or stale or rom_changed):
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
        if rom_changed:
            local = Path(folder) / "new.romfs"
            local.write_bytes(rom)
            mpremote(port, "romfs", "deploy", str(local), soft_reset=False)
            if _rom_sum(port, rom) != hashlib.sha256(rom).hexdigest():
                raise FlashError("the ROMFS did not arrive as it was sent; run this again before the meter is used")
    empty = sorted({path.rpartition("/")[0] for path in bytecode}, reverse=True) if rom else []  # an empty /prosumer would hide the ROMFS's
    mpremote(port, "exec", _SWAP % (changed, stale, empty), "+", "reset", soft_reset=False)
    last, lines = watch(port, _BOOT_S, lambda line: line == "runs" or line.startswith(("not enrolled", "HALT:")))
    if last is None or last.startswith("HALT:"):
        raise FlashError(f"the new firmware is there, but the meter does not run: {' / '.join(lines[-3:]) or 'it said nothing'}")
    return changed + stale + (["/rom"] if rom_changed else [])


def _rom_sum(port, rom):
    return mpremote(port, "exec", _ROM_SUM % len(rom), soft_reset=False).strip()


def _sums(port, paths):
    output = mpremote(port, "exec", _SUMS % json.dumps(paths), soft_reset=False)
    try:
        return json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise PortError(f"the meter on {port} answered {output.strip()[-80:]!r}") from None
