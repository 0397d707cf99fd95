"""`prosumer sign RECORD.json --key FILE`: reading → signed reading, by the firmware's own code on the Unix port.

In:  {"record": "reading", "feeder_id": 16 hex digits, "member": 0, "slot": 7, …}, or a list of such. The numbers are those of
     firmware/prosumer/records.py for every signed record of fixed size (reading, commit, envelope, vote, …), bytes in hex.
     A reading without "seq" and "previous" continues the reading in front of it in the list; the first begins a chain.
     FILE holds a seed of 32 bytes in hex, as `prosumer keys new` writes it. A meter's own seed never leaves the meter.
Out: the same with "public_key", "signature", "message" (what is signed), "hash" (what the next reading names) and "raw" (the record).
"""
import json
import re
from pathlib import Path

from prosumer_tools.commands.clear import BadInput, command, field, read_json
from prosumer_tools.unixport import run_firmware

# One question a line; every answer is an object, {"refused": code, "field": name} where the firmware says no.
SCRIPT = """
import json, sys
from binascii import unhexlify
from prosumer import records
from prosumer.codec import Record
from prosumer.errors import Reject
from prosumer.identity.ed25519 import Signer, check_public_key, verify

KINDS = {}
for name in dir(records):
    cls = getattr(records, name)
    if isinstance(cls, type) and issubclass(cls, Record) and cls is not Record and cls.SIGNED:
        KINDS[cls.TAG.decode().split("/")[1]] = cls

class Bad(Exception):
    pass

def made(cls, given):
    fields = {}
    for i in range(0, len(cls.FIELDS), 3):
        name, code = cls.FIELDS[i], cls.FIELDS[i + 1]
        if name not in given:
            raise Bad("missing", name)
        value = given.pop(name)
        if code[-1] == "s":
            try:
                value = unhexlify(value)
            except (ValueError, TypeError):
                raise Bad("not-hex", name)
            if len(value) != int(code[:-1].lstrip(">")):
                raise Bad("wrong-length", name)
        elif type(value) is not int or not 0 <= value < 256 ** {"B": 1, "H": 2, "I": 4, "Q": 8}[code[-1]]:
            raise Bad("out-of-range", name)
        fields[name] = value
    for name in given:
        raise Bad("unknown", name)
    return cls(**fields)

def shown(cls, record, feeder):
    out = {}
    for i in range(0, len(cls.FIELDS), 3):
        value = getattr(record, cls.FIELDS[i])
        out[cls.FIELDS[i]] = value.hex() if isinstance(value, bytes) else value
    out["signature"] = record.signature.hex()
    out["message"] = record.message(feeder).hex()
    out["hash"] = record.hash(feeder).hex()
    out["raw"] = record.pack().hex()
    return out

def kind(name):
    if name not in KINDS:
        raise Bad("unknown-record", ", ".join(sorted(KINDS)))
    return KINDS[name]

def sign(question):
    signer = Signer(unhexlify(question["seed"]))
    cls, feeder = kind(question["record"]), unhexlify(question["feeder_id"])
    record = made(cls, question["fields"])
    record.signature = signer.sign(record.message(feeder))
    return dict(shown(cls, record, feeder), public_key=signer.public.hex())

def check(question):
    cls, feeder = kind(question["record"]), unhexlify(question["feeder_id"])
    if "raw" in question:
        record = cls.parse(unhexlify(question["raw"]))
    else:
        record = made(cls, question["fields"])
        record.signature = unhexlify(question["signature"])
    member = record.member if "member" in cls.FIELDS else 255
    keys = question["keys"]  # one key, or those of all members and the operator
    key = keys[member] if member < len(keys) - 1 else keys[-1] if member == 255 or len(keys) == 1 else None
    out = dict(shown(cls, record, feeder), public_key=key, reason=None)
    try:
        if key is None:
            raise Reject("not-a-member")
        check_public_key(unhexlify(key))
        if not verify(unhexlify(key), record.message(feeder), record.signature):
            raise Reject("bad-signature")
    except Reject as e:
        out["reason"] = e.code
    return out

for line in sys.stdin:
    question = json.loads(line)
    try:
        print(json.dumps(sign(question) if "seed" in question else check(question)))
    except Bad as e:
        print(json.dumps({"refused": e.args[0], "field": e.args[1]}))
    except Reject as e:
        print(json.dumps({"refused": e.code, "field": None}))
"""

REASONS = {
    "missing": "lacks {!r}",
    "unknown": "has an unknown {!r}",
    "not-hex": "{!r} must be a string of hexadecimal digits",
    "wrong-length": "{!r} has the wrong length",
    "out-of-range": "{!r} must be a whole number from 0 that fits its bytes",
    "unknown-record": "'record' is one of: {}",
}
_ADDED = ("record", "feeder_id", "public_key", "signature", "message", "hash", "raw", "valid", "reason", "continues")


def hexadecimal(text, size, what):
    """The bytes of a string of hexadecimal digits."""
    if not isinstance(text, str) or not re.fullmatch(f"[0-9a-fA-F]{{{2 * size}}}", text):
        raise BadInput(f"{what} must be {2 * size} hexadecimal digits")
    return bytes.fromhex(text)


def read_seed(path):
    """The 32 bytes of a file, in hex as `prosumer keys new` writes it, or as they are. What is in it is never part of a message."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the key {path}: {error.strerror}") from None
    if len(data) == 32:
        return data
    if not re.fullmatch(rb"[0-9a-fA-F]{64}\s*", data):
        raise BadInput(f"{path} is no key: 64 hexadecimal digits are expected")
    return bytes.fromhex(data.decode())


def items(data):
    """The records of an input, and whether it was a list."""
    listed = isinstance(data, list)
    for record in data if listed else [data]:
        if not isinstance(record, dict):
            raise BadInput(f"a record must be an object, not {type(record).__name__}")
    return (data if listed else [data]), listed


def question(record, where):
    """What the firmware is asked about one record; the feeder and the numbers checked as far as JSON differs from MicroPython's."""
    fields = {k: v for k, v in record.items() if k not in _ADDED}
    for name, value in fields.items():
        if isinstance(value, (bool, float, list, dict)) or value is None:
            raise BadInput(f"{where}: " + REASONS["out-of-range"].format(name))
    feeder = hexadecimal(field(record, "feeder_id", where), 8, f"{where}: 'feeder_id'")
    return {"record": field(record, "record", where), "feeder_id": feeder.hex(), "fields": fields}


def ask(questions):
    """The firmware's answers, one for each question."""
    lines = "".join(json.dumps(q) + "\n" for q in questions)
    return [json.loads(line) for line in run_firmware(SCRIPT, lines).splitlines()]


def refusal(answer, where):
    text = REASONS[answer["refused"]].format(answer["field"]) if answer["field"] is not None else answer["refused"]
    return BadInput(f"{where}: {text}")


def sign_records(data, seed):
    """The signed record, or list of records, that `data` asks for."""
    records, listed = items(data)
    out, chain = [], {}
    for i, record in enumerate(records):
        where = f"record {i + 1}" if listed else "the record"
        asked = question(record, where)
        key = asked["feeder_id"], asked["fields"].get("member")
        if asked["record"] == "reading":
            before = chain.get(key, {"seq": -1, "hash": "00" * 32})
            asked["fields"].setdefault("seq", before["seq"] + 1)
            asked["fields"].setdefault("previous", before["hash"])
        answer = ask([dict(asked, seed=seed.hex())])[0]
        if "refused" in answer:
            raise refusal(answer, where)
        if asked["record"] == "reading":
            chain[key] = answer
        out.append({"record": asked["record"], "feeder_id": asked["feeder_id"], **answer})
    return out if listed else out[0]


def add_parser(subparsers):
    parser = subparsers.add_parser("sign", help="reading → signed reading: sign records (JSON in, JSON out)",
                                   description=__doc__.split("\n\n")[0],
                                   epilog="A record: record (reading, commit, envelope, vote, …), feeder_id, and the fields of "
                                   "firmware/prosumer/records.py; readings of a list continue each other. Example: tests/vectors/readings.json.")
    parser.add_argument("record", metavar="RECORD.json", help="a record or a list of them; - for standard input")
    parser.add_argument("--key", required=True, metavar="FILE", help="a seed in hex, as `prosumer keys new` writes it")
    parser.set_defaults(run=command("sign", lambda args: sign_records(read_json(args.record), read_seed(args.key))))
