"""`prosumer keys …`: keys of one's own and of meters. Everything is printed as JSON; no secret ever is.

    new FILE                    a key to sign with (`prosumer sign`): a seed of 32 bytes in hex, readable by its owner alone
    show FILE | PORT            its public key; of a meter also what it holds: a PIN, a key that is prepared, the epoch on the wire
    open KIND/MEMBER HEX --feeder FILE.json          what a sealed message says; seal: the other way (`prosumer feeder keys` makes FILE.json)
    prepare PORT                a second key beside the live one, with both signatures of the replacement, for the operator
    replace PORT [--genesis FILE] [--keys FILE]      makes the prepared key the live one, for good; readings that wait are signed again
    pin PORT [--none]           seals the meter's key under a PIN that is asked for (PROSUMER_PIN), to be given at every start
    unlock PORT                 gives it
    erase PORT --yes            decommissioning: the key, the settings with their passwords and what is left of them in the flash
"""
import argparse
import getpass
import json
import os
import re
import secrets
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from prosumer_tools.commands.clear import BadInput
from prosumer_tools.commands.provision import ProvisionError, checked_genesis, checked_keys, fingerprint, secret, write
from prosumer_tools.commands.sign import hexadecimal, read_seed
from prosumer_tools.feederkeys import OPERATOR, BadSeal, FeederKeys, montgomery
from prosumer_tools.meter_port import PortError, check_answers, mpremote, send
from prosumer_tools.verify.keys import Key, key_fault

REPLACEMENT_TAG = b"prosumer/replacement/v1\0"
_CARD = "old", "new", "old_signature", "new_signature"

# On the meter. What only an installer needs is brought along and takes none of its flash.
_DEVICE = """
import gc, json, os
import board
from prosumer import durable
from prosumer.codec import Cursor, list_pieces
from prosumer.errors import Halt, Reject
from prosumer.identity import keystore
from prosumer.records import Reading

PATH = "/seed.key"

def there(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""

def facts(keys):
    state, rounds, _, public = keystore._parse(there(PATH))
    prepared = keystore._read(PATH + ".next")
    return {"key": public.hex(), "erased": not state, "pin": rounds > 0, "prepared": keystore._parse(prepared)[3].hex() if prepared else None,
            "enrolled": bool(there("/genesis.bin")), "epoch": int.from_bytes((durable.load("/data/keys") or there("/keys.bin")[1:3])[:2], "big")}

def show(hal, keys, question):
    return facts(keys)

def prepare(hal, keys, question):
    new, old = keys.prepare(hal.noise), keys.public()
    message = bytes(question["message"]) + old + new
    return dict(facts(keys), old=old.hex(), new=new.hex(), old_signature=keys.open().sign(message).hex(), new_signature=keys.prepared().sign(message).hex())

def replace(hal, keys, question):
    signer = keys.prepared()
    waiting = durable.load("/data/readings")
    if waiting:  # said already, not yet in a block: the neighbours know only the new key by now
        waiting = Cursor(waiting).records(Reading, 255)
        for r in waiting:
            r.signature = signer.sign(r.message(bytes(question["feeder_id"])))
        durable.save("/data/readings", *list_pieces(waiting))
    keys.replace()
    return facts(keys)

def pin(hal, keys, question):
    if keystore._read(PATH + ".next"):
        raise Halt("key-store-has-prepared")
    new = question["new_pin"]
    keys.protect(new.encode() if new else None)
    fill()
    return facts(keys)

def erase(hal, keys, question):
    keys.erase()
    for path in "/config.json", "/keys.bin", "/genesis.bin", "/data/keys":
        try:
            os.remove(path)
        except OSError:
            pass
    fill()
    return facts(keys)

def fill():
    # LittleFS writes beside and forgets: what was there stays in the flash until all of it is written once. Small files lie
    # in the folder's own log, of which two blocks are written in turn: each is begun anew several times.
    block = b"\\0" * 1024
    for _ in range(110):
        with open("/fill", "wb") as f:
            f.write(block[:120])
    try:
        with open("/fill", "wb") as f:
            while f.write(block):
                pass
    except OSError:
        pass
    os.remove("/fill")

def answer(question):
    hal = board.hal()
    given = question.get("pin")
    keys = keystore.KeyStore(PATH, hal.binding(), given.encode() if given else None)
    try:
        return globals()[question["do"]](hal, keys, question)
    except (Halt, Reject) as e:
        return {"refused": str(e)}
    except OSError as e:
        return {"refused": "file system: " + str(e)}

print(json.dumps(answer(json.loads(%r))))
gc.collect()
gc.disable()
held = None
try:  # what signed lies in the free heap, as main.py says
    while True:
        held = held, bytearray(0)
except MemoryError:
    held = None
gc.enable()
"""

_SAYS = {
    "key-store-missing": "there is no such key on the meter",
    "key-store-needs-pin": "the meter's key is sealed under a PIN: set PROSUMER_PIN or answer when asked",
    "key-store-wrong-pin-or-device": "that is not the PIN, or the file system is another board's",
    "key-store-erased": "the meter's key was erased",
    "key-store-damaged": "the file of the meter's key is damaged: it needs to be replaced by the operator, no new key is made by itself",
    "key-store-has-prepared": "a replacement is prepared: finish it first",
}


def ask(port, do, **question):
    """The meter's answer; BadInput when it refuses. A PIN is asked for when it turns out that one is needed."""
    check_answers(port)
    for pin in (os.environ.get("PROSUMER_PIN"), None):
        output = mpremote(port, "exec", _DEVICE % json.dumps(dict(question, do=do, pin=pin)))
        lines = [line for line in output.splitlines() if line.startswith("{")]
        if not lines:
            raise PortError(f"the meter on {port} answered {output.strip()[-80:]!r}")
        answer = json.loads(lines[-1])
        if answer.get("refused") != "key-store-needs-pin" or not sys.stdin.isatty():
            break
        os.environ["PROSUMER_PIN"] = getpass.getpass("PIN of the meter: ")
    if "refused" in answer:
        raise BadInput(f"the meter refuses: {_SAYS.get(answer['refused'], answer['refused'])} ({answer['refused']})")
    return answer


def _new(args):
    seed = secrets.token_bytes(32)
    try:
        with os.fdopen(os.open(args.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(seed.hex() + "\n")
    except FileExistsError:
        raise BadInput(f"{args.file} exists: a key is never written over") from None
    return public_of(seed)


def public_of(seed):
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return {"key": key.hex(), "fingerprint": fingerprint(key), "x25519": montgomery(key).hex()}


def _show(args):
    if Path(args.place).is_file():
        return public_of(read_seed(args.place))
    answer = ask(args.place, "show")
    return dict(answer, fingerprint=fingerprint(bytes.fromhex(answer["key"])))


def _wire(args):
    kind, _, member = args.topic.partition("/")
    if not kind or not member.isdigit() or int(member) > OPERATOR:
        raise BadInput("the topic is KIND/MEMBER, as reading/3 or envelope/255")
    if len(args.hex) % 2 or not re.fullmatch("[0-9a-fA-F]*", args.hex):
        raise BadInput("the message must be hexadecimal digits")
    keys, message = FeederKeys.load(args.feeder), bytes.fromhex(args.hex)
    done = (keys.open if args.what == "open" else keys.seal)(kind, int(member), message)
    return {"kind": kind, "member": int(member), "epoch" if args.what == "seal" else "type": keys.epoch if args.what == "seal" else done[:1].hex(),
            "raw": done.hex()}


def _prepare(args):
    genesis = checked_genesis(args.genesis) if args.genesis else None
    feeder = genesis.feeder_id if genesis else bytes(8)
    answer = ask(args.port, "prepare", message=list(REPLACEMENT_TAG + feeder))
    card = {"record": "replacement", "feeder_id": feeder.hex(), **{name: answer[name] for name in _CARD}}
    fault = replacement_fault(card)
    if fault:
        raise PortError(f"the meter's card does not hold: {fault}")
    return dict(card, fingerprint=fingerprint(bytes.fromhex(card["new"])))


def replacement_fault(card):
    """Why this card is not signed by both keys; None if it is."""
    old, new = (hexadecimal(card.get(name), 32, f"{name!r}") for name in _CARD[:2])
    message = REPLACEMENT_TAG + hexadecimal(card.get("feeder_id"), 8, "'feeder_id'") + old + new
    for key, name in ((old, "old_signature"), (new, "new_signature")):
        signature = hexadecimal(card.get(name), 64, f"{name!r}")
        if key_fault(key) or not Key(key).signed(message, signature):
            return f"bad-{name.replace('_', '-')}"
    return "same-key" if old == new else None


def _replace(args):
    genesis = checked_genesis(args.genesis) if args.genesis else None
    prepared = ask(args.port, "show")["prepared"]
    if prepared is None:
        raise BadInput("no key is prepared on the meter: `prosumer keys prepare` makes one")
    files = {}
    if genesis:
        if bytes.fromhex(prepared) not in [m[0] for m in genesis.members]:
            raise BadInput(f"the prepared key is not among the {len(genesis.members)} members of {args.genesis}: the operator puts it there first")
        files["/genesis.bin"] = args.genesis.read_bytes()
    if args.keys:
        files["/keys.bin"] = checked_keys(args.keys, genesis)
    if files:
        write(args.port, files, 1 << 20)
    answer = ask(args.port, "replace", feeder_id=list(genesis.feeder_id if genesis else _feeder_of(args.port)))
    mpremote(args.port, "reset", soft_reset=False)
    return dict(answer, fingerprint=fingerprint(bytes.fromhex(answer["key"])))


def _feeder_of(port):
    """Of the genesis on the meter; zeros if it has none (then no reading waits either)."""
    with_genesis = mpremote(port, "exec", "import os\nprint('G' if 'genesis.bin' in os.listdir('/') else 'N')").strip().endswith("G")
    if not with_genesis:
        return bytes(8)
    from prosumer_tools.verify import records
    output = mpremote(port, "exec", "print(open('/genesis.bin', 'rb').read().hex())")
    return records.genesis(bytes.fromhex(output.strip().splitlines()[-1])).feeder_id


def _pin(args):
    pin = None
    if not args.none:
        pin = secret("PROSUMER_NEW_PIN", "new PIN")
        if len(pin) < 6 or not pin.isprintable():
            raise BadInput("a PIN needs 6 characters at least: a thief can try millions")
        if "PROSUMER_NEW_PIN" not in os.environ and getpass.getpass("again: ") != pin:
            raise BadInput("the two are not the same")
    return ask(args.port, "pin", new_pin=pin)


def _unlock(args):
    pin = secret("PROSUMER_PIN", "PIN of the meter")
    last, _ = send(args.port, pin, lambda line: line == "runs" or line.startswith(("HALT", "not enrolled")), args.wait)
    if last is None:
        raise PortError(f"the meter on {args.port} says nothing within {args.wait:g} s: it asks for its PIN only at a start")
    if last.startswith("HALT"):
        raise BadInput(f"the meter refuses: {last}")
    return {"meter": last}


def _erase(args):
    if not args.yes:
        raise BadInput("the meter will never sign again: repeat with --yes")
    answer = ask(args.port, "erase")
    return {"key": answer["key"], "erased": answer["erased"]}


def add_parser(subparsers):
    parser = subparsers.add_parser("keys", help="keys of one's own and of meters: make, show, replace, erase; open what is sealed",
                                   description="Keys of one's own and of meters.", epilog=__doc__.split("\n\n")[1],
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="what", required=True, metavar="WHAT")

    def action(name, work, text):
        sub = actions.add_parser(name, help=text, description=text)
        sub.set_defaults(run=_command(name, work))
        return sub

    action("new", _new, "make a key: a seed in hex").add_argument("file", metavar="FILE")
    action("show", _show, "public key of a file or of a meter").add_argument("place", metavar="FILE|PORT")
    for name, text in (("open", "what a sealed message says"), ("seal", "a record as it is sent")):
        wire = action(name, _wire, text)
        wire.add_argument("topic", metavar="KIND/MEMBER")
        wire.add_argument("hex", metavar="HEX")
        wire.add_argument("--feeder", required=True, metavar="FILE.json", type=Path)
    for name, work, text in (("prepare", _prepare, "a second key on a meter, to replace the live one"),
                             ("replace", _replace, "make the prepared key the live one"),
                             ("pin", _pin, "seal a meter's key under a PIN"), ("unlock", _unlock, "give a meter its PIN at its start"),
                             ("erase", _erase, "decommission a meter")):
        sub = action(name, work, text)
        sub.add_argument("port", metavar="PORT")
        if name in ("prepare", "replace"):
            sub.add_argument("--genesis", metavar="FILE", type=Path, help="the street's genesis" + (", with the new key" if name == "replace" else ""))
        if name == "replace":
            sub.add_argument("--keys", metavar="FILE", type=Path, help="the street's keys record, wrapped for the new key")
        if name == "pin":
            sub.add_argument("--none", action="store_true", help="without a PIN again")
        if name == "unlock":
            sub.add_argument("--wait", type=float, default=90, metavar="SECONDS")
        if name == "erase":
            sub.add_argument("--yes", action="store_true")


def _command(name, work):
    def run(args):
        try:
            print(json.dumps(work(args), indent=2))
            return 0
        except (BadInput, BadSeal, ProvisionError, PortError) as error:
            print(f"prosumer keys {name}: {error}", file=sys.stderr)
        except OSError as error:
            print(f"prosumer keys {name}: {error.filename}: {(error.strerror or str(error)).lower()}", file=sys.stderr)
        return 2
    return run
