"""What every meter agrees on after a block: accounts, open positions, sealed commits. Its root stands in the header.

In front stand the rules: the *regime*, which says who votes (epoch:4 excluded:8 genesis:32), then slot:4 import_limit_mwh:4
export_limit_mwh:4, the envelope that this block cleared `slot` in. Behind the members: feeder_ucr:8 utility_ucr:8 (signed) month:2
operator_seq:4 lost_mwh:8 (signed), and the sealed commits.
One account is 92 bytes: balance_ucr:8 (signed) green_mwh:8 next_slot:4 next_seq:4 import_mwh:8 export_mwh:8
generation_mwh:8 head:32 retired_mwh:8 next_transfer:4; the whole state of 8 members is about 1.3 kB.
"""
import struct

from micropython import const

from prosumer.codec import Cursor
from prosumer.errors import Reject
from prosumer.ledger import salted
from prosumer.records import MAX_LATE_READINGS

_LAYOUT = const(128)  # added to the number of accounts: none was before open trades stood apart
_RULES = const(">IQ32sIII")
_COMMON = const(">qqHIq")
_ACCOUNT = ">qQIIQQQ32sQI"
_TRADE = const(">IIII")
_FIELDS = const(("balance_ucr", "green_mwh", "next_slot", "next_seq", "import_mwh", "export_mwh", "generation_mwh", "head",
                 "retired_mwh", "next_transfer"))


def regime_of(packed):
    """The regime in a packed state, without opening it."""
    return packed[17:61]


class Account:
    """One member: money, green coins, and how far its readings are settled.

    `next_slot`/`next_seq`: the first that would be accepted; `head`: hash of the last settled reading;
    the registers (mWh) are those of that reading, so nothing is settled or minted twice. `next_transfer`: likewise of its transfers.
    """

    def __init__(self, values=(0, 0, 0, 0, 0, 0, 0, bytes(32), 0, 0)):
        for name, value in zip(_FIELDS, values):
            setattr(self, name, value)
        self.trades = b""  # packed: a day of them, while a house is away, would fill the heap as objects

    def gap(self, r, slot, fuse_mwh, skip=True):
        """Energy (import, export, generated) mWh that reading `r` adds beside its interval's; Reject if block `slot` cannot take it next.

        A fuse lets pass twice its rating for a while, never more. `skip`: readings between may be lost, since a meter keeps
        its last few and its registers count on.
        """
        if (r.seq != self.next_seq or r.previous != self.head) and (not skip or r.seq < self.next_seq + MAX_LATE_READINGS):
            raise Reject("broken-chain")
        if not self.next_slot <= r.slot <= slot - 1:
            raise Reject("wrong-slot")
        intervals = r.interval_import_mwh, r.interval_export_mwh, r.interval_generation_mwh
        if self.next_seq:
            gaps = [now - before - i for now, before, i in zip(
                (r.import_mwh, r.export_mwh, r.generation_mwh), (self.import_mwh, self.export_mwh, self.generation_mwh), intervals)]
        else:
            gaps = [0, 0, 0]  # the first reading of all: the registers begin to count here
        if min(gaps) < 0:
            raise Reject("register-went-back")
        if max(intervals) > 2 * fuse_mwh or max(gaps) > 2 * fuse_mwh * (r.slot + 1 - self.next_slot) or r.seq == 0xFFFFFFFF:
            raise Reject("implausible")
        return gaps

    def advance(self, r, digest):
        """`r` is settled."""
        self.import_mwh, self.export_mwh, self.generation_mwh = r.import_mwh, r.export_mwh, r.generation_mwh
        self.next_slot, self.next_seq, self.head = r.slot + 1, r.seq + 1, digest

    def pack(self):
        return struct.pack(_ACCOUNT, *self.values())

    def values(self):
        return [getattr(self, f) for f in _FIELDS]

    def open(self):
        """[(slot, price_ucr_per_kwh, bought_mwh, sold_mwh)] of the trades that are not settled yet, the oldest first."""
        return [struct.unpack_from(_TRADE, self.trades, at) for at in range(0, len(self.trades), 16)]

    def close(self, slot):
        """(price_ucr_per_kwh, bought_mwh, sold_mwh) of a slot, not open any more; zeros if there was nothing."""
        for i, trade in enumerate(self.open()):
            if trade[0] == slot:
                self.trades = self.trades[:16 * i] + self.trades[16 * i + 16:]
                return trade[1:]
        return 0, 0, 0


class State:
    """accounts: [Account] with their open trades; commits: {slot: {member: digest}} not yet revealed. feeder + utility + Σ balances = 0, always.

    excluded: bitmap of members whom evidence bars; genesis: hash of the one in force after this block; month: the last one
    the feeder account was shared out for; lost_mwh: what the head meter has and the members have not, not charged yet.
    slot, limits: the last one cleared, and its (import_limit_mwh, export_limit_mwh).
    """

    def __init__(self, genesis=None):
        """Before the first block of `genesis`."""
        self.epoch = self.excluded = self.month = self.operator_seq = self.lost_mwh = self.slot = 0
        self.limits = 0, 0
        self.genesis = genesis and genesis.hash
        self.accounts = [Account() for _ in genesis.members] if genesis else []
        self.feeder_ucr = self.utility_ucr = 0
        self.salt = bytes(16)  # of the block that made this state; its leaves are salted with it
        self.commits = {}

    def trade(self, slot, price_ucr_per_kwh, fills):
        """`fills` {member: (bought_mwh, sold_mwh)} of a slot, later than all before it, wait to be settled."""
        for m in fills:
            self.accounts[m].trades += struct.pack(_TRADE, slot, price_ucr_per_kwh, *fills[m])

    def fills(self, slot):
        """{member: (bought_mwh, sold_mwh)} of what is open of a slot."""
        return {m: t[2:] for m, a in enumerate(self.accounts) for t in a.open() if t[0] == slot}

    def regime(self):
        """44 bytes: who votes, under which genesis."""
        return struct.pack(">IQ32s", self.epoch, self.excluded, self.genesis)

    def leaves(self):
        """Canonical bytes: the rules; of each member its account, its older open trades, its trade of `slot` alone, so that a receipt
        of that slot shows nothing else; the common accounts; commits by slot. Trades: count:2, then slot:4 price:4 bought_mwh:4
        sold_mwh:4 each."""
        yield self.regime() + struct.pack(">III", self.slot, *self.limits)
        mark = struct.pack(">I", self.slot)
        for a in self.accounts:
            end = len(a.trades)
            if a.trades[-16:-12] == mark:
                end -= 16
            yield a.pack()
            for trades in (a.trades[:end], a.trades[end:]):
                yield struct.pack(">H", len(trades) // 16) + trades
        yield struct.pack(_COMMON, self.feeder_ucr, self.utility_ucr, self.month, self.operator_seq, self.lost_mwh)
        commits = b""
        for slot in sorted(self.commits):
            digests = self.commits[slot]
            commits += struct.pack(">IB", slot, len(digests))
            for m in sorted(digests):
                commits += bytes([m]) + digests[m]
        yield struct.pack(">H", len(self.commits)) + commits

    def root(self):
        return salted.root(self.salt, salted.STATE, self.leaves())

    def pack(self):
        size = 17  # leaf by leaf into its place: all of them beside the whole were more than the heap of a large street has free
        for leaf in self.leaves():
            size += len(leaf)
        packed, at = bytearray(size), 17
        packed[0], packed[1:17] = _LAYOUT + len(self.accounts), self.salt
        for leaf in self.leaves():
            packed[at:at + len(leaf)] = leaf
            at += len(leaf)
        return bytes(packed)

    @staticmethod
    def read(cursor):
        n = cursor.uint(1) - _LAYOUT
        if n < 0:
            raise Reject("older-layout")
        state = State()
        state.salt = cursor.take(16)
        state.epoch, state.excluded, state.genesis, state.slot, *state.limits = struct.unpack(_RULES, cursor.take(56))
        for _ in range(n):
            a = Account(struct.unpack(_ACCOUNT, cursor.take(92)))
            a.trades = cursor.take(16 * cursor.uint(2))
            a.trades += cursor.take(16 * cursor.uint(2))
            state.accounts.append(a)
        state.feeder_ucr, state.utility_ucr, state.month, state.operator_seq, state.lost_mwh = struct.unpack(_COMMON, cursor.take(30))
        for _ in range(cursor.uint(2)):
            slot = cursor.uint(4)
            state.commits[slot] = {}
            for _ in range(cursor.uint(1)):
                m = cursor.uint(1)
                state.commits[slot][m] = cursor.take(32)
        return state

    @staticmethod
    def parse(data):
        cursor = Cursor(data)
        state = State.read(cursor)
        cursor.end()
        return state
