"""Topic names. Machine topics carry binary records between meters; human topics carry JSON.

    p/<feeder>/<kind>/<member>    <feeder>: the first 8 hex digits of its id; <kind>: one of KINDS; <member>: the sender (255: the grid
                                  operator); sealed (identity/wire.py), signed under the whole id
    p/<feeder>/keys/255           and genesis/255: retained, in the open, signed by the operator
    b/<feeder>/proposal/<member>  the whole block that a sketch on p/ tells of: retained, for archives and whoever lacks a record of it
    prosumer/<name>/state         JSON, retained: what a person or Home Assistant wants to see
    prosumer/<name>/availability  online | offline (last will)
"""
from prosumer.errors import Reject

READING, COMMIT, ORDER, ENVELOPE, WEATHER = "reading", "commit", "order", "envelope", "weather"
SKETCH, PROPOSAL, VOTE, ASK, CHAIN = "sketch", "proposal", "vote", "ask", "chain"
TRANSFER, EVIDENCE, GENESIS, KEYS = "transfer", "evidence", "genesis", "keys"
KINDS = (READING, COMMIT, ORDER, ENVELOPE, WEATHER, SKETCH, PROPOSAL, VOTE, ASK, CHAIN, TRANSFER, EVIDENCE, GENESIS, KEYS)
OPERATOR = 255


def wildcard(feeder_id):
    return "p/" + feeder_id.hex()[:8] + "/#"


def machine(feeder_id, kind, member):
    return "%s/%s/%s/%d" % ("b" if kind == PROPOSAL else "p", feeder_id.hex()[:8], kind, member)


def parse(topic, feeder_id):
    """(kind, member) of a machine topic; Reject('bad-topic') for anything else."""
    parts = topic.decode().split("/") if len(topic) < 64 else ()
    if len(parts) != 4 or parts[1] != feeder_id.hex()[:8] or parts[2] not in KINDS or not parts[3].isdigit() or (parts[0] == "b") != (parts[2] == PROPOSAL):
        raise Reject("bad-topic")
    return parts[2], int(parts[3])


def human(name, what):
    return "prosumer/%s/%s" % (name, what)
