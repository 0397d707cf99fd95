"""Runs on the Unix port: one meter of a street on paper that has traded for a while, and whatever is sent to it.

Argument: the folder of tests/unit. First line out: {"feeder", "members", "good": {kind: [sender, hex]}}, records that the meter would take.
Then for each line [kind, sender, hex] in: [reason or "taken", state], where `state` is a hash over all that a message could change:
agreed state, pool, votes heard, feeder keys, files.
"""
import json
import os
import sys

sys.path.append(sys.argv[1])

from paper import Street, fresh_folder, make_genesis, signer  # noqa: E402
from prosumer.codec import sha256  # noqa: E402
from prosumer.errors import Reject  # noqa: E402
from prosumer.identity.wire import Wire  # noqa: E402
from prosumer.ledger.evidence import find  # noqa: E402
from prosumer.link import topics  # noqa: E402
from prosumer.records import GIVE, PAY_IN, Commit, Transfer  # noqa: E402

street = Street(4, fresh_folder())
street.run(3)
node, feeder = street.meters[0].node, street.genesis.feeder_id
wire = Wire(street.meters[0].folder + "keys", feeder, 0, signer("member 0"))


def signed(record, by):
    record.signature = by.sign(record.message(feeder))
    return record


def transfer(by, member, kind, to, amount):
    return signed(Transfer(member=member, kind=kind, seq=0, to=to, amount=amount, note=bytes(16)), by).pack()


def good():
    liar = [signed(Commit(member=1, slot=9, digest=bytes([i]) * 32), signer("member 1")) for i in (1, 2)]
    signers = [signer("member %d" % i) for i in range(4)]
    return {"give": [topics.TRANSFER, 2, transfer(signer("member 2"), 2, GIVE, 3, 1000)],
            "pay": [topics.TRANSFER, 255, transfer(street.operator, 255, PAY_IN, 1, 5000000)],
            "evidence": [topics.EVIDENCE, 3, find(*liar, feeder).pack()],
            "genesis": [topics.GENESIS, 255, make_genesis(street.operator, signers, before=street.genesis, retail=260000)]}


def files(folder):
    out = []
    for name in sorted(os.listdir(folder[:-1])):
        if os.stat(folder + name)[0] & 0x4000:
            out += files(folder + name + "/")
        else:
            with open(folder + name, "rb") as f:
                out.append(name.encode() + sha256(f.read()))
    return out


def rest():
    """A hash over all that a message could change."""
    pool = node.pool
    kept = [node.state.pack(), wire.raw, pool.evidence and pool.evidence.raw or b"", pool.amendment and pool.amendment.raw or b""]
    for m in sorted(pool.transfers):
        kept += [t.pack() for t in pool.transfers[m]]
    for by_slot in (pool.commits, pool.orders):
        kept += [by_slot[s][m].pack() for s in sorted(by_slot) for m in sorted(by_slot[s])]
    kept += [r.pack() for readings in pool.readings for r in readings] + [e.pack() for e in pool.envelopes]
    kept.append(repr(sorted([(k[0], k[1], k[2], m) for k in node.signatures for m in node.signatures[k]])).encode())
    return sha256(*kept + files(street.meters[0].folder)).hex()


def take(kind, sender, raw):
    try:
        if kind == topics.KEYS:
            wire.take(raw, street.members.operator)
        else:
            node.receive(kind, sender, raw, street.now)
    except Reject as e:
        return e.code
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
        return "malformed"  # as the agent counts it
    return "taken"


print(json.dumps({"feeder": feeder.hex(), "members": [m[0].hex() for m in street.genesis.members],
                  "good": {name: [kind, sender, raw.hex()] for name, (kind, sender, raw) in good().items()}}))
for line in sys.stdin:
    kind, sender, raw = json.loads(line)
    print(json.dumps([take(kind, sender, bytes.fromhex(raw)), rest()]))
