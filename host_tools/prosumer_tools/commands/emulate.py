"""`prosumer emulate [BOARD]`: one device in the foreground, in real time; mpremote and any terminal connect to its PTY.

The device keeps its flash in a folder, so that it remembers what was provisioned. Ctrl-C pulls the power.
"""
import asyncio
import json
import logging
import sys
import time
import uuid
from pathlib import Path

from prosumer_tools import image
from prosumer_tools.emulator.adc import ModelledADC
from prosumer_tools.emulator.broker import KINDS, BrokerError
from prosumer_tools.emulator.device import DeviceError, FrontEnd
from prosumer_tools.emulator.supervisor import Supervisor

_FOREVER_MS = 1 << 50


def add_parser(subparsers):
    parser = subparsers.add_parser("emulate", help="run one emulated device in the foreground and print its PTY", description=__doc__)
    parser.add_argument("board", nargs="?", default="EMULATED", metavar="BOARD",
                        help="a folder of boards/ whose front end is a waveform (default: EMULATED)")
    parser.add_argument("--dir", type=Path, default=image.ROOT / "runs" / "emulate", help="where its flash and logs are kept (default: runs/emulate)")
    parser.add_argument("--erase", action="store_true", help="flash the image anew; all it remembers is lost")
    parser.add_argument("--load-w", type=float, default=800, help="what the grid clamp sees (negative: export; default: 800)")
    parser.add_argument("--broker", choices=(*KINDS, "none"), default="amqtt", help="the broker to start beside it (default: amqtt)")
    parser.add_argument("--port", type=int, default=0, help="the broker's port (default: a free one)")
    parser.add_argument("--speed", type=float, default=1, help="virtual seconds per second, 0 for as fast as it goes (default: 1)")
    parser.set_defaults(run=run)


def run(args):
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if args.speed < 0:
            raise DeviceError("--speed cannot be negative")
        front_end, adc = _front_end(args.board)
        built = image.build_image(args.board)
        asyncio.run(_run(args, built, front_end, adc))
    except (image.ImageError, BrokerError, DeviceError, OSError) as error:
        print(f"prosumer emulate: {error}", file=sys.stderr)
        return 2
    return 0


def _front_end(board):
    """The board's converter: (FrontEnd, ModelledADC) with one voltage and the grid clamp."""
    path = image.BOARDS / board / "board.json"
    try:
        description = json.loads(path.read_text())["front_end"]
    except FileNotFoundError:
        raise DeviceError(f"no board {board}: {path} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"{path} describes no front end: {error!r}") from None
    if description.get("kind") != "waveform":
        raise DeviceError(f"{board} has a front end of kind {description.get('kind')!r}, which only the real board has; emulate EMULATED")
    adc = ModelledADC(**{key: description[key] for key in ("rate_hz", "bits", "noise_lsb", "skew_us", "v_full_scale")},
                      i_full_scale=description["i_full_scale"]["grid"])
    return FrontEnd(description["rate_hz"], description["frames"], description["window_ms"], 2), adc


async def _run(args, built, front_end, adc):
    if args.erase:
        (args.dir / "devices" / args.board / "flash.bin").unlink(missing_ok=True)
    broker = None if args.broker == "none" else args.broker
    async with Supervisor(args.dir, built.path, int(time.time() * 1000), args.speed, broker, args.port, front_end=front_end) as lab:
        lab.sample_source = lambda device, now_ms: adc.window(now_ms / 1000 % 86400, front_end.frames_max, 230, 50, [(args.load_w, 0.0)])
        device = lab.add(args.board, _unique_id(args.dir), echo=_echo)
        print(f"{args.board} on {device.console.path}   (mpremote connect {device.console.path})")
        print(f"flash and log in {device.folder}" + (f", broker on {lab.broker.host}:{lab.broker.port}" if lab.broker else ""))
        print("Ctrl-C pulls the power", flush=True)
        lab.boot()
        await lab.run(_FOREVER_MS)


def _unique_id(folder):
    """Six bytes that stay with the folder, as a chip's stay with it."""
    path = folder / "unique_id"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("02" + uuid.uuid4().hex[:10])
    return bytes.fromhex(path.read_text().strip())


def _echo(text):
    sys.stdout.write(text.decode(errors="replace"))
    sys.stdout.flush()
