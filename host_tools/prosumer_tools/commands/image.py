"""`prosumer image [BOARD]`: compile the firmware and write the images that are flashed on a board or booted in the emulator.

A board whose MicroPython has a ROMFS partition gets the bytecode in an image of its own, NAME.romfs beside the LittleFS image.
"""
import json
import sys
from pathlib import Path

from prosumer_tools import image

BUDGET_BYTES = 122 << 10  # of the 128 KiB of a ROMFS partition, in which umqtt.simple and the directory stand beside it


def add_parser(subparsers):
    parser = subparsers.add_parser("image", help="compile the firmware and build a board's images", description=__doc__)
    parser.add_argument("board", nargs="?", default="EMULATED", metavar="BOARD", help="a folder of boards/ (default: EMULATED)")
    parser.add_argument("--march", choices=image.MARCHES, help="the processor: xtensawin for ESP32, S2 and S3, rv32imc for C3 and C6 (default: the board's)")
    parser.add_argument("--out", type=Path, help="the image's file (default: build/BOARD-MARCH.img)")
    parser.add_argument("--json", action="store_true", help="sizes as JSON")
    parser.set_defaults(run=run)


def run(args):
    try:
        built = image.build_image(args.board, args.march, args.out)
    except image.ImageError as error:
        print(f"prosumer image: {error}", file=sys.stderr)
        return 2
    firmware = {name: size for name, size in sorted(built.packages.items()) if name.startswith("prosumer")}
    if args.json:
        print(json.dumps({"image": str(built.path), "free_bytes": built.free_bytes, "packages": built.packages, "files": built.files,
                          "rom": str(built.rom) if built.rom else None, "rom_files": built.rom_files}))
        return 0
    for name, size in sorted(built.packages.items()):
        print(f"{name:<22}{size:>8} B")
    used = sum(firmware.values())
    print(f"{'firmware in all':<22}{used:>8} B   {100 * used / BUDGET_BYTES:.0f} % of the budget of {BUDGET_BYTES >> 10} KiB")
    print(f"{built.path}: {image.IMAGE_BYTES >> 10} KiB, {built.free_bytes >> 10} KiB free")
    if built.rom:
        size = built.rom.stat().st_size
        print(f"{built.rom}: {size} B of bytecode, {(image.ROM_BYTES - size) >> 10} KiB of the partition free")
    return 0
