"""The flash files of an emulated device: made from the image, kept over power cuts, readable and writable from outside while it is off."""
import contextlib
from pathlib import Path

import littlefs

from prosumer_tools import image


class Flash:
    """`path`: the file system that is read and written; `rom`: the ROMFS partition, whose bytecode runs in place (not every build has one)."""

    def __init__(self, path):
        self.path = Path(path)
        self.rom = self.path.with_name("rom.bin")

    def program(self, image_path):
        """Flash the whole image, as a new board is; its ROMFS lies beside it."""
        image.replace(self.path, Path(image_path).read_bytes())
        rom = image.rom_beside(image_path)
        if rom.is_file():
            image.replace(self.rom, rom.read_bytes().ljust(image.ROM_BYTES, b"\xff"))
        else:
            self.rom.unlink(missing_ok=True)

    def read(self, name):
        with self._mounted() as fs, fs.open(name, "rb") as file:
            return file.read()

    def write(self, files):
        """Write `files` (path → bytes); folders are made as needed."""
        with self._mounted(save=True) as fs:
            for name, data in files.items():
                image.write_file(fs, name, data)

    def names(self):
        """Paths of all files on the device, sorted."""
        with self._mounted() as fs:
            return sorted(f"{folder.rstrip('/')}/{name}" for folder, _, names in fs.walk("/") for name in names)

    @contextlib.contextmanager
    def _mounted(self, save=False):
        try:
            fs = image.filesystem(self.path.read_bytes())
        except littlefs.LittleFSError as error:
            raise image.ImageError(f"{self.path} holds no LittleFS: {error}") from error
        yield fs
        fs.unmount()
        if save:
            image.replace(self.path, fs.context.buffer)
