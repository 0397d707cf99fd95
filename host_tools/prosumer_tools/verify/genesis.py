"""The rules of the street as the operator signed them: the genesis, what may amend it, the tariff of a slot, who votes.

    0a number:2 feeder:8 previous:32 start_s:4 slot_s:2 delta_ms:2 retail:4 feed_in:4 price_min:4 price_max:4 local_fee:4
    loss_per_mille:2 penalty_ucr:4 import_limit_mwh:4 export_limit_mwh:4 credit_limit_ucr:4 correction_s:4 accuracy
    utc_offset_min:2 (signed) operator:32 name (length, text) bands (count, then days from_min:2 to_min:2 retail:4 feed_in:4 each)
    members (count, then key:32 roles fuse_a phase each) sig:64
"""
import datetime
import struct
from dataclasses import dataclass, replace
from functools import cached_property

from .keys import Key, key_fault
from .reader import Malformed, Reader, sha256

GENESIS_TAG = b"prosumer/genesis/v2\0"
PRICE_CEILING = 0x3FFFFFFF
NO_LIMIT = 0xFFFFFFFF
GENERATES, STORES, HEAD, LEFT = 1, 2, 4, 128
COMMITTEE = 40
EPOCH_SLOTS = 2016


@dataclass
class Genesis:
    number: int
    feeder: bytes
    previous: bytes
    start_s: int
    slot_s: int
    delta_ms: int
    retail: int
    feed_in: int
    min_price: int
    max_price: int
    local_fee: int
    loss_per_mille: int
    penalty_ucr: int
    import_limit_mwh: int
    export_limit_mwh: int
    credit_limit_ucr: int
    correction_s: int
    accuracy: int
    utc_offset_min: int
    operator: bytes
    name: str
    bands: list        # (days, from_min, to_min, retail, feed_in)
    members: list      # (key, roles, fuse_a, phase)
    body: bytes
    signature: bytes

    @property
    def n(self):
        return len(self.members)

    @cached_property
    def keys(self):
        return [Key(m[0]) for m in self.members]

    @property
    def feeder_id(self):
        return self.feeder if self.number else sha256(GENESIS_TAG, self.body)[:8]

    @property
    def hash(self):
        return sha256(GENESIS_TAG, self.body, self.signature)

    def bytes(self):
        return self.body + self.signature

    def roles(self, member):
        return self.members[member][1]

    def fuse_mwh(self, member):
        """230 V a phase; at the feeder's head all houses together."""
        if self.roles(member) & HEAD:
            return sum(self.fuse_mwh(m) for m in range(self.n) if not self.roles(m) & HEAD)
        _, _, fuse_a, phase = self.members[member]
        return fuse_a * 230 * (1 if phase else 3) * self.slot_s * 1000 // 3600

    def local(self, slot):
        """Local time (without zone) at which a slot begins."""
        return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=self.start_s + slot * self.slot_s, minutes=self.utc_offset_min)

    def month(self, slot):
        """Months since the year 0."""
        at = self.local(slot)
        return 12 * at.year + at.month - 1

    def dearest(self):
        """This genesis with the highest retail and the lowest feed-in price of its calendar."""
        return replace(self, retail=max([self.retail] + [b[3] for b in self.bands]), feed_in=min([self.feed_in] + [b[4] for b in self.bands]))

    def tariff(self, slot):
        """This genesis with the retail and feed-in prices of a slot."""
        if not self.bands:
            return self
        at = self.local(slot)
        minute = 60 * at.hour + at.minute
        for days, start, end, retail, feed_in in self.bands:
            if days & 1 << at.weekday() and start <= minute < end:
                return replace(self, retail=retail, feed_in=feed_in)
        return self


def read(r, what):
    r.type(10, what)
    start = r.at - 1
    numbers = r.unpack(">H8s32sIHHIIIIIHIIIIIBh32s", what)
    try:
        name = r.take(r.take(1, what)[0], what).decode()
    except UnicodeDecodeError:
        raise Malformed(f"{what}: the street's name is not UTF-8") from None
    bands = [r.unpack(">BHHII", what) for _ in range(r.take(1, what)[0])]
    members = [r.unpack(">32sBBB", what) for _ in range(r.take(1, what)[0])]
    body = r.data[start:r.at]
    return Genesis(*numbers, name, bands, members, body, r.take(64, what))


def genesis(data):
    r = Reader(data, "genesis")
    g = read(r, "genesis")
    r.end()
    return g


def faults(g, who):
    """What is wrong with a genesis by itself; `who(member)` names one."""
    out = []
    trouble = key_fault(g.operator)
    if trouble:
        out.append("operator's " + trouble)
    elif not Key(g.operator).signed(GENESIS_TAG + g.body, g.signature):
        out.append("the operator's signature does not match; nothing else can be trusted without it")
    if not 1 <= g.n <= 64:
        out.append(f"{g.n} members; 1 to 64 are possible")
    if len({m[0] for m in g.members}) != g.n:
        out.append("two members have the same key")
    out += [f"{who(i)}: {key_fault(m[0])}" for i, m in enumerate(g.members) if key_fault(m[0])]
    prices = [(g.retail, g.feed_in)] + [b[3:] for b in g.bands]
    if not (60 <= g.slot_s <= 3600 and g.delta_ms and g.max_price <= PRICE_CEILING and g.loss_per_mille <= 1000
            and all(g.min_price <= feed_in <= retail <= g.max_price for retail, feed_in in prices)):
        out.append("slot length or tariff are out of order")
    if not (g.slot_s <= g.correction_s <= 172800 and g.accuracy <= 3 and abs(g.utc_offset_min) < 1440):
        out.append("correction window, accuracy class or time zone are out of range")
    if len(g.bands) > 8 or any(not (1 <= days <= 127 and start < end <= 1440) for days, start, end, _, _ in g.bands):
        out.append("the tariff calendar has a band that is none")
    heads = sum(roles & (HEAD | LEFT) == HEAD for _, roles, _, _ in g.members)
    if heads > 1 or heads and g.loss_per_mille or any(roles & ~0x87 or roles & HEAD and roles & 3 for _, roles, _, _ in g.members):
        out.append("roles that do not go together")
    if sum(g.fuse_mwh(m) for m in range(g.n) if not g.roles(m) & HEAD) >= 1 << 32:
        out.append("the fuses together carry more than a header has room for")
    if not g.number and (any(g.feeder) or any(g.previous)):
        out.append("the first genesis names one before it")
    return out


def successor_fault(old, new):
    """Why `new` does not amend `old`; None if it does."""
    if new.number != old.number + 1 or new.previous != old.hash:
        return f"number {new.number} does not follow the genesis in force, number {old.number}"
    if (new.feeder_id, new.operator, new.start_s, new.slot_s) != (old.feeder_id, old.operator, old.start_s, old.slot_s):
        return "changes what cannot be amended: feeder, operator, start or slot length"
    if new.n < old.n:
        return "takes away a member's number"
    for m, (was, now) in enumerate(zip(old.members, new.members)):
        if was[1] & LEFT and was[0] != now[0]:
            return f"gives number {m}, whose member left, to somebody else"
    return None


def able(g, excluded):
    """Members that may vote at all."""
    return [m for m in range(g.n) if not g.roles(m) & LEFT and not excluded >> m & 1]


def electorate(g, epoch, excluded):
    """Who votes: all that may, or a committee of 40 drawn by hash, another one each epoch."""
    voters = able(g, excluded)
    if len(voters) > COMMITTEE:
        voters.sort(key=lambda m: sha256(g.hash, struct.pack(">IB", epoch, m)))
    return sorted(voters[:COMMITTEE])
