"""`prosumer provision PORT`: read a meter's public key, and make it a member of a street.

Without --name only the enrolment card is shown; its key goes to the operator, who puts it into the genesis. With --name and --broker the
configuration is written, with --genesis and --keys the street's genesis and keys record too; the meter then restarts and must say that
it runs. Passwords are asked for, or taken from PROSUMER_WIFI_PASSWORD and PROSUMER_MQTT_PASSWORD.
"""
import getpass
import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path

from prosumer_tools import feederkeys
from prosumer_tools.meter_port import PortError, check_answers, mpremote, watch
from prosumer_tools.verify import records
from prosumer_tools.verify.keys import Key, key_fault

_RUNS, _WAITS = "runs", "not enrolled"
_STOPS = re.compile(r"HALT:|[A-Z]\w*(Error|Exception|Interrupt)\b")
_SPARE_BYTES = 64 << 10  # readings, headers and registers need room
# On the meter: make or open its key, and let the board say what it thinks of the settings.
_ASK = """
import json, os
import board
from prosumer.errors import Halt, Reject
from prosumer.identity.keystore import KeyStore
def ask(settings):
    try:
        hal = board.hal()
        keys = KeyStore("/seed.key", hal.binding())
        if not keys.exists():
            if "genesis.bin" in os.listdir("/"):
                return {"refused": "key-store-missing"}
            keys.create(hal.noise)
        public = keys.public().hex()
        if settings:
            board.calibration(settings) if board.channels(settings) else None
    except (Halt, Reject) as e:
        return {"refused": str(e)}
    except (ImportError, KeyError, OSError) as e:
        return {"refused": repr(e)}
    space = os.statvfs("/")
    return {"key": public, "id": hal.unique_id().hex(), "free": space[0] * space[3]}
print(json.dumps(ask(json.loads(%r))))
"""
_RENAME = "import os\nfor n in %r: os.rename(n + '~', n)\nprint('renamed')"


class ProvisionError(Exception):
    """The meter was not enrolled; the text says why."""


def add_parser(subparsers):
    parser = subparsers.add_parser("provision", help="read a meter's key and enrol it in a street", description=__doc__)
    parser.add_argument("port", metavar="PORT", help="serial port of the meter")
    parser.add_argument("--name", help="the home's name in its street: letters, digits, - and _")
    parser.add_argument("--broker", metavar="HOST[:PORT]", help="the street's MQTT broker")
    parser.add_argument("--user", help="user name at the broker")
    parser.add_argument("--wifi", metavar="SSID", help="the house's wireless network")
    parser.add_argument("--ntp", metavar="HOST", help="time server (default: the board's)")
    parser.add_argument("--channels", default="grid", help="clamps in the order of the board's inputs (default: grid)")
    parser.add_argument("--devices", type=Path, metavar="FILE.json", help="battery, ev and pv of the home, where the meter knows them")
    parser.add_argument("--genesis", type=Path, metavar="FILE", help="the street's genesis, signed by the operator")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="the street's keys record: without it the meter is silent until one comes from the operator")
    parser.add_argument("--open", action="store_true", help="this street seals nothing: whoever reads at its broker sees readings and orders")
    parser.add_argument("--tell", action="store_true",
                        help="power and money of the house in the open on prosumer/NAME/state, for who reads along at this broker (Home Assistant)")
    parser.add_argument("--wait", type=float, default=90, metavar="SECONDS", help="how long the meter may take to run (default: 90)")
    parser.set_defaults(run=run)


def run(args):
    try:
        settings = _settings(args)
        street = checked_genesis(args.genesis) if args.genesis else None
        keys = checked_keys(args.keys, street) if args.keys else None
        answer = ask(args.port, settings)
        key = bytes.fromhex(answer["key"])
        print(card(args.name, key, answer["id"], street))
        if settings is None:
            return 0
        if street and key not in [m[0] for m in street.members]:
            raise ProvisionError(f"this meter is not enrolled: its key is not among the {street.n} members of {args.genesis}. "
                                 "Nothing was written; give the operator its key")
        files = {"/config.json": json.dumps(settings).encode()}
        if street:
            files["/genesis.bin"] = args.genesis.read_bytes()
        if keys:
            files["/keys.bin"] = keys
        write(args.port, files, answer["free"])
        print(f"written and compared: {', '.join(files)}")
        if street and not keys and not args.open:
            print("no --keys and not --open: the meter is silent towards its neighbours until the operator's keys record comes")
        restart(args.port, key, bool(street), args.wait)
    except (ProvisionError, PortError) as error:
        return _fail(error)
    except OSError as error:
        return _fail(f"{error.filename}: {(error.strerror or str(error)).lower()}")
    print(f"{args.name} runs" if street else f"{args.name} is configured and waits for its genesis: run again with --genesis")
    return 0


def _fail(text):
    print(f"prosumer provision: {text}", file=sys.stderr)
    return 2


def _settings(args):
    """The meter's config.json; None when only its card is asked for."""
    if args.name is None:
        if args.genesis or args.broker or args.wifi:
            raise ProvisionError("--name is missing")
        return None
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", args.name):
        raise ProvisionError("--name: up to 32 letters, digits, - and _")
    host, _, port = (args.broker or "").partition(":")
    if not host or not (port or "1883").isdigit() or not 0 < int(port or 1883) < 65536:
        raise ProvisionError("--broker HOST[:PORT] is missing or has a wrong port")
    broker = {"host": host, "port": int(port or 1883), "keepalive_s": 60}
    if args.user:
        broker.update(user=args.user, password=secret("PROSUMER_MQTT_PASSWORD", f"password of {args.user} at {host}"))
    if args.open and args.keys:
        raise ProvisionError("--open and --keys: a street with keys does not talk in the open")
    settings = {"name": args.name, "channels": args.channels.split(","), "devices": _devices(args.devices), "broker": broker}
    if args.wifi:
        settings["wifi"] = {"ssid": args.wifi, "password": secret("PROSUMER_WIFI_PASSWORD", f"password of {args.wifi}")}
    for word in ("tell", "open"):
        if getattr(args, word):
            settings[word] = True
    if args.ntp:
        settings["ntp"] = args.ntp
    return settings


def _devices(path):
    try:
        devices = json.loads(path.read_text()) if path else {}
    except ValueError as error:
        raise ProvisionError(f"{path}: {error}") from None
    if not isinstance(devices, dict) or set(devices) - {"battery", "ev", "pv"}:
        raise ProvisionError(f"{path}: an object with battery, ev or pv is expected")
    return devices


def secret(variable, what):
    if variable in os.environ:
        return os.environ[variable]
    if not sys.stdin.isatty():
        raise ProvisionError(f"no terminal to ask for the {what}: set {variable}")
    return getpass.getpass(f"{what}: ")


def checked_genesis(path):
    """The genesis in a file, its signature and keys checked by the host's own code; ProvisionError says what is wrong with it."""
    try:
        street = records.genesis(Path(path).read_bytes())
    except records.Malformed as error:
        raise ProvisionError(str(error)) from None
    except OSError as error:
        raise ProvisionError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    trouble = key_fault(street.operator)
    if trouble or not Key(street.operator).signed(records.GENESIS_TAG + street.body, street.signature):
        raise ProvisionError("genesis: " + (f"the operator's {trouble}" if trouble else "the operator's signature does not match"))
    return street


def checked_keys(path, street):
    """The keys record in a file; it must be of this street's operator, for all its members."""
    raw = path.read_bytes()
    try:
        wrapped = feederkeys.read_record(raw)[2]
    except feederkeys.BadSeal as error:
        raise ProvisionError(f"{path}: {error}") from None
    if not street:
        raise ProvisionError("--keys needs --genesis, whose operator signed it")
    if len(wrapped) != len(street.members) or not Key(street.operator).signed(feederkeys.TAG + street.feeder_id + raw[:-64], raw[-64:]):
        raise ProvisionError(f"{path}: is not signed by the operator of {street.name} for its {street.n} members")
    return raw


def ask(port, settings=None):
    """The meter's answer: {"key", "id", "free"}; PortError or ProvisionError with its reason."""
    check_answers(port)
    output = mpremote(port, "exec", _ASK % json.dumps(settings))
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise PortError(f"the meter on {port} answered {output.strip()[-80:]!r}")
    answer = json.loads(lines[-1])
    if "refused" in answer:
        raise ProvisionError(f"the meter refuses: {answer['refused']}")
    return answer


def card(name, key, unique_id, street=None):
    """The enrolment card: what the operator needs, and a fingerprint short enough to compare over the telephone."""
    member = [i for i, m in enumerate(street.members) if m[0] == key] if street else []
    rows = [("meter", name or "(no name yet)"), ("chip", unique_id), ("public key", key.hex()), ("fingerprint", fingerprint(key))]
    if member:
        rows.append(("member", f"{member[0]} of {street.n} in {street.name}"))
    return "\n".join(f"{what:<13}{value}" for what, value in rows)


def fingerprint(key):
    """First 8 bytes of the key's SHA-256, in groups of four hex digits."""
    return " ".join(re.findall("....", hashlib.sha256(key).hexdigest()[:16]))


def write(port, files, free_bytes):
    """Beside, compared by sha256, then renamed: a broken copy never takes the place of a whole one."""
    need = sum(map(len, files.values())) + _SPARE_BYTES
    if free_bytes < need:
        raise ProvisionError(f"the meter's file system is full: {free_bytes >> 10} KiB are free, {need >> 10} KiB are needed")
    with tempfile.TemporaryDirectory() as folder:
        copies, sums = [], []
        for number, (path, data) in enumerate(files.items()):
            local = Path(folder) / str(number)
            local.write_bytes(data)
            copies += ["fs", "cp", str(local), f":{path}~", "+"]
            sums += ["fs", "sha256sum", f":{path}~", "+"]
        output = mpremote(port, *copies, *sums[:-1], soft_reset=False)
    for path, data in files.items():
        if hashlib.sha256(data).hexdigest() not in output:
            raise ProvisionError(f"{path} did not arrive as it was sent; the meter keeps what it had")
    mpremote(port, "exec", _RENAME % list(files), soft_reset=False)


def restart(port, key, enrolled, seconds):
    """Reset, and listen to the meter's own words until it runs (or waits for its genesis)."""
    mpremote(port, "reset", soft_reset=False)
    last, lines = watch(port, seconds, lambda line: line == _RUNS or line.startswith(_WAITS) or _STOPS.match(line))
    if last is None:
        raise ProvisionError(f"the meter did not say that it runs within {seconds:g} s; its last words: {' / '.join(lines[-3:]) or 'none'}")
    if not last.startswith(_RUNS if enrolled else _WAITS):
        raise ProvisionError(f"the meter stopped: {last}")
    if f"meter {key.hex()}" not in lines:
        raise ProvisionError("another meter answered after the reset: its key is not the one enrolled")
