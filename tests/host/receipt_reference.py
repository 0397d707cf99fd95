"""A second check of receipts, written from their layout alone (firmware/prosumer/ledger/receipt.py shows it): no code of the project in it.

    found = check(receipt, genesis, amendments)      dict of what it proves; ValueError when it does not
"""
import hashlib
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


class Take:
    def __init__(self, data):
        self.data = data

    def __call__(self, size):
        if size > len(self.data):
            raise ValueError("ends too early")
        out, self.data = self.data[:size], self.data[size:]
        return out

    def number(self, size):
        return int.from_bytes(self(size), "big")

    def path(self):
        return [self(32) for _ in range(self.number(1))]


def signed(key, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        raise ValueError("signature") from None


def climb(leaf, index, count, path):
    """The top that the path leads to, by the recursive definition of RFC 9162, 2.1.3.1, read from the top down."""
    if count == 1:
        if path:
            raise ValueError("path too long")
        return leaf
    if not path:
        raise ValueError("path too short")
    k = 1
    while 2 * k < count:
        k *= 2
    if index < k:
        return sha(b"\1", climb(leaf, index, k, path[:-1]), path[-1])
    return sha(b"\1", path[-1], climb(leaf, index - k, count - k, path[:-1]))


def under(tag, root, leaf, index, count, path):
    if not index < count or sha(tag, count.to_bytes(4, "big"), climb(leaf, index, count, path)) != root:
        raise ValueError("not under the root")


def members_of(genesis):
    """(hash, [(key, roles)]): the head of the record has a fixed length, its name and its tariff calendar not."""
    at = 128
    at += 1 + genesis[at]
    at += 1 + 13 * genesis[at]
    members = [(genesis[at + 1 + 35 * i:at + 33 + 35 * i], genesis[at + 33 + 35 * i]) for i in range(genesis[at])]
    signed(genesis[96:128], b"prosumer/genesis/v2\0" + genesis[:-64], genesis[-64:])
    return sha(b"prosumer/genesis/v2\0", genesis), members


def chain_of(genesis, amendments):
    """{number: record} that hang together, beginning with number 0."""
    known, previous = {0: genesis}, sha(b"prosumer/genesis/v2\0", genesis)
    for record in sorted(amendments, key=lambda r: r[1:3]):
        if record[11:43] != previous or record[96:128] != genesis[96:128]:
            raise ValueError("no amendment of this genesis")
        previous = sha(b"prosumer/genesis/v2\0", record)
        known[int.from_bytes(record[1:3], "big")] = record
    return known


def against(take, feeder, members):
    """The member that one piece of evidence excludes."""
    size = {1: 157, 2: 102, 6: 103}
    kind, member = take(2)
    domain, first = take(8), take(1)
    one = first + take(size[first[0]] - 1)
    other = take(size[first[0]])
    if kind != 12 or one >= other or one[0] != other[0] or one[0] != 6 and domain != feeder:
        raise ValueError("evidence")
    tag = {1: b"prosumer/reading/v1\0", 2: b"prosumer/commit/v1\0", 6: b"prosumer/vote/v1\0"}[one[0]]
    for record in (one, other):
        body = record[:-64] if record[0] != 6 else record[1:6] + record[7:39]
        if (record[1] if record[0] != 6 else record[6]) != member:
            raise ValueError("evidence against somebody else")
        signed(members[member][0], tag + domain + body, record[-64:])
    same = {1: slice(6, 10), 2: slice(2, 6), 6: slice(2, 6)}[one[0]]
    if one[same] != other[same]:
        raise ValueError("evidence of nothing")
    return member


def check(receipt, genesis, amendments=()):
    feeder = sha(b"prosumer/genesis/v2\0", genesis[:-64])[:8]
    take = Take(receipt)
    if take(1) != b"\x0e":
        raise ValueError("no receipt")
    member, slot = take.number(1), take.number(4)
    found = {"member": member, "slot": slot, "reading": None, "order": None, "trade": None, "account": None, "open": None, "rules": None}
    regime, number = take(12), take.number(2)
    known = chain_of(genesis, amendments)
    if number not in known:
        raise ValueError("a genesis that is not known")
    digest, members = members_of(known[number])
    keys, excluded = [m[0] for m in members], int.from_bytes(regime[4:], "big")
    if {against(take, feeder, members) for _ in range(take.number(1))} != {m for m in range(64) if excluded >> m & 1}:
        raise ValueError("excluded without evidence")
    able = [m for m, (_, roles) in enumerate(members) if not roles & 128 and not excluded >> m & 1]
    able = sorted(able, key=lambda m: sha(digest, regime[:4], bytes([m])))[:40] if len(able) > 40 else able
    domain = sha(feeder, regime, digest)[:8]
    if take(2) != b"\x07\x01":
        raise ValueError("no certificate of finality")
    vote = b"\1" + take(4) + take(32)
    voters = take.number(8)
    voters = [m for m in range(64) if voters >> m & 1]
    if len(voters) < len(able) - (len(able) - 1) // 3 or not set(voters) <= set(able) or member >= len(members):
        raise ValueError("quorum")
    for m in voters:
        signed(keys[m], b"prosumer/vote/v1\0" + domain + vote, take(64))
    headers = []
    for i in range(take.number(1)):
        by = take.number(1) if i else None
        if by == 1:
            count, index, path = take.number(4), take.number(4), take.path()
        raw = take(146)
        kind, at, iteration, _, previous, accumulator, body, state, price, volume = struct.unpack(">BIIB32s32s32s32sII", raw)
        digest = sha(b"prosumer/header/v1\0", feeder, raw)
        if kind != 5 or i == 0 and (iteration > int.from_bytes(vote[1:5], "big") or digest != vote[5:]) \
                or by == 0 and headers[-1]["previous"] != digest or by not in (None, 0, 1):
            raise ValueError("header")
        if by == 1:
            under(b"\3", headers[-1]["accumulator"], sha(b"\0", digest), index, count, path)
        headers.append({"slot": at, "previous": previous, "accumulator": accumulator, "b": body, "S": state, "price": price, "volume": volume})
    leaves = take.number(1)
    if not leaves:
        raise ValueError("shows nothing")
    for _ in range(leaves):
        header, tree = headers[take.number(1)], take(1)
        if tree not in (b"b", b"S"):
            raise ValueError("tree")
        index, count, salt = take.number(2), take.number(2), take(16)
        data = take(take.number(2))
        under(b"\2", header[tree.decode()], sha(b"\0", salt, data), index, count, take.path())
        leaf(found, header, tree, index, count, data, feeder, keys)
        if found["rules"] and found["rules"][0] not in [members_of(g)[0] for g in known.values()]:
            raise ValueError("rules of a genesis that is not known")
    seal = take(64)
    if take.data:
        raise ValueError("bytes too many")
    if found["order"]:
        commit = b"\2" + bytes([member]) + slot.to_bytes(4, "big") + sha(b"prosumer/order/v1\0", feeder, found["order"])
        signed(keys[member], b"prosumer/commit/v1\0" + feeder + commit, seal)
    elif any(seal):
        raise ValueError("seal")
    return found


def leaf(found, header, tree, index, count, data, feeder, keys):
    member, slot = found["member"], found["slot"]
    if tree == b"S":
        own = {3 * member + 1: ("account", 0), 3 * member + 2: ("open", 0), 3 * member + 3: ("trade", 1), 0: ("rules", 1)}
        if index not in own or index > count - 3:
            raise ValueError("leaf of somebody else")
        what, before = own[index]
        if header["slot"] != slot - before:
            raise ValueError("state of another block")
        if what == "rules":
            found["rules"] = data[12:44], *struct.unpack(">II", data[48:])
        elif what == "account":
            found["account"] = struct.unpack(">qQIIQQQ32sQI", data)
        else:
            trades = {k: (p, b, s) for k, p, b, s in struct.iter_unpack(">IIII", data[2:])}
            found[what] = trades if what == "open" else trades.get(slot, (0, 0, 0))
    elif data[0] == 1:
        if (data[1], int.from_bytes(data[2:6], "big")) != (member, slot) or len(data) != 157:
            raise ValueError("reading of somebody else")
        signed(keys[member], b"prosumer/reading/v1\0" + feeder + data[:-64], data[-64:])
        found["reading"] = struct.unpack(">IIII", data[66:82])
    elif data[0] == 3:
        if (data[1], int.from_bytes(data[2:6], "big"), header["slot"]) != (member, slot, slot - 1):
            raise ValueError("order of somebody else")
        found["order"] = data
