"""What every meter agrees on after a block: accounts, open positions, sealed commits. Its root stands in the header.

One account is 80 bytes: balance_ucr:8 (signed) green_mwh:8 next_slot:4 next_seq:4 import_mwh:8 export_mwh:8
generation_mwh:8 head:32; the whole state of 8 members is about 1.2 kB.
"""
import struct

from prosumer.codec import Cursor
from prosumer.ledger import salted

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

    def pack(self):
        return struct.pack(_ACCOUNT, *[getattr(self, f) for f in _FIELDS])


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
        """Canonical bytes: members in order, then the common accounts, then positions and commits by slot."""
        out = [a.pack() for a in self.accounts]
        out.append(struct.pack(">qq", self.feeder_ucr, self.utility_ucr))
        positions, commits = b"", b""
        for slot in sorted(self.positions):
            price, fills = self.positions[slot]
            positions += struct.pack(">IIB", slot, price, len(fills))
            for m in sorted(fills):
                positions += struct.pack(">BII", m, *fills[m])
        for slot in sorted(self.commits):
            digests = self.commits[slot]
            commits += struct.pack(">IB", slot, len(digests))
            for m in sorted(digests):
                commits += bytes([m]) + digests[m]
        out.append(struct.pack(">H", len(self.positions)) + positions)
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
        size = struct.calcsize(_ACCOUNT)
        state.accounts = [Account(struct.unpack(_ACCOUNT, cursor.take(size))) for _ in range(n)]
        state.feeder_ucr, state.utility_ucr = struct.unpack(">qq", cursor.take(16))
        for _ in range(cursor.uint(2)):
            slot, price = cursor.uint(4), cursor.uint(4)
            state.positions[slot] = (price, {})
            for _ in range(cursor.uint(1)):
                m = cursor.uint(1)
                state.positions[slot][1][m] = (cursor.uint(4), cursor.uint(4))
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
