"""What the operator signs, as bytes. Whether a genesis stands is asked of the firmware's own code on the Unix port, never judged here."""
import functools
import hashlib
import json
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from prosumer_tools.operator import OperatorError
from prosumer_tools.unixport import FirmwareError, run_firmware

OPERATOR = 255
PAY_IN, PAY_OUT = 2, 3
_GENESIS_TAG = b"prosumer/genesis/v2\0"
_LAYOUT = ">BH8s32sIHHIIIIIHIIIIIBh32s"
_OPERATOR_AT = struct.calcsize(_LAYOUT[:-3])
_ENVELOPE_TAG = b"prosumer/envelope/v1\0"
_TRANSFER_TAG = b"prosumer/transfer/v1\0"
_NUMBERS = ("delta_ms", "retail_ucr_per_kwh", "feed_in_ucr_per_kwh", "min_price_ucr_per_kwh", "max_price_ucr_per_kwh",
            "local_fee_ucr_per_kwh", "loss_per_mille", "penalty_ucr", "import_limit_mwh", "export_limit_mwh", "credit_limit_ucr",
            "correction_s", "accuracy")

# A genesis and its amendments, one hex line each, oldest first; what the firmware sees in each, or the code of its refusal.
_TAKE = """
import json, sys
from prosumer.errors import Reject
from prosumer.identity.genesis import Genesis
from prosumer.ledger.pool import Pool
def seen(g):
    return {"feeder_id": g.feeder_id.hex(), "hash": g.hash.hex(), "operator": g.operator.hex(), "name": g.name, "number": g.number,
            "start_s": g.start_s, "slot_s": g.slot_s, "utc_offset_min": g.utc_offset_min, "bands": [list(b) for b in g.bands],
            "numbers": {n: getattr(g, n) for n in %r}, "members": [[m[0].hex(), m[1], m[2], m[3]] for m in g.members]}
before, out = None, []
for line in sys.stdin:
    try:
        g = Genesis(bytes.fromhex(line.strip()))
        if before:
            before.check_successor(g)
            Pool(before, None).add_amendment(g.raw)     # as it comes from the broker: short enough for a block
        elif g.number and sys.argv[1] == "all":
            raise Reject("not-a-successor")
    except Reject as e:
        out.append({"refused": e.code})
        break
    out.append(seen(g))
    before = g
print(json.dumps(out))
""" % (_NUMBERS,)

WHY = {
    "bad-operator-signature": "the operator's signature does not fit", "duplicate-key": "two members have the same key",
    "fuses-too-large": "all fuses together carry more than 32 bits of energy in a slot", "too-many-bands": "more than 8 tariff bands",
    "bad-band": "a tariff band has no day, or ends before it begins", "too-many-members": "1 to 64 members, with those who left",
    "tariff-out-of-order": "prices must rise: lowest price, feed-in, retail, highest price, in every band",
    "not-a-successor": "it is not the next of this feeder: operator, start and slot length stay, and nobody's place is given away",
    "genesis-out-of-range": "a number is outside what meters take", "bad-roles": "roles that do not go together", "replayed": "an older one",
    "too-large": "too much for one block: let members join in smaller steps",
    "truncated": "it ends too early", "trailing-bytes": "there are bytes behind it", "wrong-type": "it is no genesis"}


def genesis(key, plan, members, before=None):
    """Signed genesis (bytes) of a Plan; an amendment of `before` (a dict of `take_up`). `members`: [plan.Member], by index."""
    number, feeder, previous = (before["number"] + 1, bytes.fromhex(before["feeder_id"]), bytes.fromhex(before["hash"])) if before else (
        0, bytes(8), bytes(32))
    body = struct.pack(_LAYOUT, 10, number, feeder, previous, plan.start_s, plan.slot_s,
                       *[plan.numbers[name] for name in _NUMBERS], plan.utc_offset_min, key.public)
    name = plan.name.encode()
    if len(name) > 255:
        raise OperatorError("name: longer than 255 bytes")
    body += bytes([len(name)]) + name + bytes([len(plan.bands)]) + b"".join(struct.pack(">BHHII", *band) for band in plan.bands)
    body += bytes([len(members)]) + b"".join(struct.pack(">32sBBB", m.key, m.roles, m.fuse_a, m.phase) for m in members)
    return body + key.sign(_GENESIS_TAG + body)


def take_up(chain, part=False):
    """What the firmware reads in a genesis and its amendments (list of bytes, oldest first): [dict]. OperatorError with its refusal.

    `part`: the first may be an amendment itself.
    """
    try:
        out = json.loads(_seen(tuple(chain), part))
    except FirmwareError as e:
        raise OperatorError(str(e)) from None
    if "refused" in out[-1]:
        code = out[-1]["refused"]
        raise OperatorError(f"genesis {len(out) - 1} would be refused by every meter: {code} ({WHY.get(code, 'see firmware/prosumer/identity')})")
    return out


@functools.lru_cache(64)
def _seen(chain, part):
    return run_firmware(_TAKE, "".join(raw.hex() + "\n" for raw in chain), args=["part" if part else "all"])


def rehearse(plan, members, before=None):
    """What the firmware would read in a genesis, or in an amendment of `before` (bytes), signed by a key that is thrown away."""
    key = Draft()
    if before is None:
        return take_up([genesis(key, plan, members)])[0]
    body = bytearray(before[:-64])
    body[1:43] = bytes(42)      # number, feeder, previous: as if it were the first
    body[_OPERATOR_AT:_OPERATOR_AT + 32] = key.public
    first = bytes(body) + key.sign(_GENESIS_TAG + body)
    return take_up([first, genesis(key, plan, members, take_up([first])[0])])[1]


class Draft:
    """A key for rehearsals."""

    def __init__(self):
        self._key = Ed25519PrivateKey.generate()
        self.public, self.sign = self._key.public_key().public_bytes_raw(), self._key.sign


def envelope(key, feeder_id, first_slot, last_slot, import_limit_mwh, export_limit_mwh):
    body = struct.pack(">BIIII", 4, first_slot, last_slot, import_limit_mwh, export_limit_mwh)
    return body + key.sign(_ENVELOPE_TAG + feeder_id + body)


def payment(key, feeder_id, kind, seq, member, amount_ucr, note):
    """A transfer signed by the operator: PAY_IN or PAY_OUT of a member's account."""
    body = struct.pack(">BBBIBQ16s", 11, OPERATOR, kind, seq, member, amount_ucr, note)
    return body + key.sign(_TRANSFER_TAG + feeder_id + body)


def fingerprint(key_hex):
    """As on a meter's enrolment card."""
    digits = hashlib.sha256(bytes.fromhex(key_hex)).hexdigest()[:16]
    return " ".join(digits[i:i + 4] for i in range(0, 16, 4))
