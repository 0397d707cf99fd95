"""What every meter agrees on after a block: accounts, open positions, sealed commits. Its root stands in the header.

One account is 80 bytes: balance_ucr:8 (signed) green_mwh:8 next_slot:4 next_seq:4 import_mwh:8 export_mwh:8
generation_mwh:8 head:32; the whole state of 8 members is about 1.2 kB.
"""
import struct

from prosumer.codec import Cursor
from prosumer.errors import Reject
from prosumer.ledger import salted
from prosumer.records import MAX_LATE_READINGS

_ACCOUNT = ">qQIIQQQ32s"
_FIELDS = ("balance_ucr", "green_mwh", "next_slot", "next_seq", "import_mwh", "export_mwh", "generation_mwh", "head")


class Account:
    """One member: money, green coins, and how far its readings are settled.

    `next_slot`/`next_seq`: the first that would be accepted; `head`: hash of the last settled reading;
    the registers (mWh) are those of that reading, so nothing is settled or minted twice.
    """

    def __init__(self, values=(0, 0, 0, 0, 0, 0, 0, bytes(32))):
        for name, value in zip(_FIELDS, values):
            setattr(self, name, value)

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


class State:
    """accounts: [Account]; positions: {slot: (price_ucr_per_kwh, {member: (bought_mwh, sold_mwh)})} not yet settled;
    commits: {slot: {member: digest}} not yet revealed. feeder + utility + Σ balances = 0, always."""

    def __init__(self, n):
        self.accounts = [Account() for _ in range(n)]
        self.feeder_ucr = self.utility_ucr = 0
        self.salt = bytes(16)  # of the block that made this state; its leaves are salted with it
        self.positions = {}
        self.commits = {}

    def leaves(self):
        """Canonical bytes: of each member its account, then its open trades, so that a receipt shows one member alone; then the
        common accounts, then commits by slot. Trades: count:2, then slot:4 price:4 bought_mwh:4 sold_mwh:4 each."""
        out = []
        positions = sorted(self.positions.items())
        for m, a in enumerate(self.accounts):
            trades = [struct.pack(">IIII", slot, price, *fills[m]) for slot, (price, fills) in positions if m in fills]
            out += [a.pack(), struct.pack(">H", len(trades)) + b"".join(trades)]
        out.append(struct.pack(">qq", self.feeder_ucr, self.utility_ucr))
        commits = b""
        for slot in sorted(self.commits):
            digests = self.commits[slot]
            commits += struct.pack(">IB", slot, len(digests))
            for m in sorted(digests):
                commits += bytes([m]) + digests[m]
        out.append(struct.pack(">H", len(self.commits)) + commits)
        return out

    def root(self):
        return salted.root(self.salt, salted.STATE, self.leaves())

    def pack(self):
        return bytes([len(self.accounts)]) + self.salt + b"".join(self.leaves())

    @staticmethod
    def read(cursor):
        n = cursor.uint(1)
        state = State(0)
        state.salt = cursor.take(16)
        for m in range(n):
            state.accounts.append(Account(struct.unpack(_ACCOUNT, cursor.take(struct.calcsize(_ACCOUNT)))))
            for _ in range(cursor.uint(2)):
                slot, price = cursor.uint(4), cursor.uint(4)
                state.positions.setdefault(slot, (price, {}))[1][m] = cursor.uint(4), cursor.uint(4)
        state.feeder_ucr, state.utility_ucr = struct.unpack(">qq", cursor.take(16))
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
