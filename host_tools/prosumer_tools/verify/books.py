"""The street's books, kept from block to block by own rules: accounts, open positions, sealed commits.

`apply` takes one block in and says through `fault(record, text)` what is against the rules; it goes on as well as it can, so
that one bad record does not hide the next. Signatures are not its business (see check).
"""
import struct
from dataclasses import dataclass, field
from hashlib import sha256

from . import genesis as street
from . import rules
from .accounts import Account, Accounts
from .genesis import GENERATES, HEAD, LEFT, STORES
from .rules import Entry
from .trees import salted_root

LATE = 4  # readings of a member that one block may take


@dataclass
class Outcome:
    """What one block did. `clearing` is of slot + 1, of whose orders `penalized` members showed none; entries are of slots before."""

    clearing: rules.Clearing
    limits: tuple
    entries: list = field(default_factory=list)
    penalized: list = field(default_factory=list)
    minted: dict = field(default_factory=dict)  # member → mWh of new coins
    lost: tuple = (0, 0)  # mWh and ucr that a head meter showed to be lost
    coins: list = field(default_factory=list)  # (member, slot, "minted" | "given" | "retired", to, mWh, note)
    tariff: object = None  # of slot + 1

    def by_member(self):
        """{member: {"trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr", "penalty_ucr", "share_ucr", "payment_ucr"}}"""
        out = {}
        for e in self.entries:
            sums = out.setdefault(e.member, dict.fromkeys(Entry.LEGS, 0))
            for name in sums:
                sums[name] += getattr(e, name)
        return out


class Books(Accounts):
    def __init__(self, genesis):
        self.genesis = genesis
        self.accounts = [Account() for _ in genesis.members]
        self.feeder_ucr = self.utility_ucr = 0
        self.positions = {}  # slot → (price, {member: (bought, sold)})
        self.commits = {}    # slot → {member: digest}
        self.salt = bytes(16)
        self.epoch = self.excluded = self.month = self.operator_seq = self.lost_mwh = 0
        self.slot, self.limits = 0, (0, 0)  # the last one cleared, and what the wires carry in it

    def regime(self):
        """Who votes, as 44 bytes: epoch, excluded members, genesis in force."""
        return struct.pack(">IQ32s", self.epoch, self.excluded, self.genesis.hash)

    def voters(self):
        return street.electorate(self.genesis, self.epoch, self.excluded)

    def quorum(self):
        n = len(self.voters())
        return n - (n - 1) // 3

    def balanced(self):
        return sum(a.balance_ucr for a in self.accounts) + self.feeder_ucr + self.utility_ucr == 0

    def root(self):
        """As the layout has it: rules, each member's account, older open trades and newest one, common accounts, commits. Empty if a number
        does not fit."""
        try:
            return salted_root(self.salt, b"S", self.leaves())
        except struct.error:
            return b""

    def leaves(self):
        leaves = []
        for m, account in enumerate(self.accounts):
            trades = [(s, p, *fills[m]) for s, (p, fills) in sorted(self.positions.items()) if m in fills]
            leaves += [account.pack(), _trades(t for t in trades if t[0] != self.slot), _trades(t for t in trades if t[0] == self.slot)]
        commits = struct.pack(">H", len(self.commits))
        for slot, digests in sorted(self.commits.items()):
            commits += struct.pack(">IB", slot, len(digests)) + b"".join(bytes([m]) + d for m, d in sorted(digests.items()))
        common = struct.pack(">qqHIq", self.feeder_ucr, self.utility_ucr, self.month, self.operator_seq, self.lost_mwh)
        return [self.regime() + struct.pack(">III", self.slot, *self.limits), *leaves, common, commits]

    def apply(self, block, fault):
        """Book one block. `fault(record or None, text)`."""
        slot = block.slot
        limits = self.genesis.import_limit_mwh, self.genesis.export_limit_mwh
        for e in block.envelopes:
            if e.first_slot <= slot + 1 <= e.last_slot:
                limits = e.import_limit_mwh, e.export_limit_mwh
            else:
                fault(e, f"is not for slot {slot + 1}")
        for o in block.orders:  # before anything of this block counts
            self._barred(o, fault)
            self._credit(o, fault)
        self.salt, self.slot, self.limits = block.salt, slot + 1, limits
        entries, self.minted, self.coins = [], {}, []
        _in_order(block.transfers, lambda t: (t.member, t.seq), fault)
        for t in block.transfers:
            self._transfer(t, slot, entries, fault)
        _in_order(block.readings, lambda r: (r.member, r.seq), fault)
        owed = {m for _, fills in self.positions.values() for m in fills}
        metered = {m for m in range(self.genesis.n) if m in owed or not self.genesis.roles(m) & LEFT}
        for r in block.readings:
            if r.member in metered:
                self._read(slot, r, entries, fault)
            else:
                fault(r, "is from nobody of the street")
        for s in sorted(s for s in self.positions if s < slot - self.genesis.correction_s // self.genesis.slot_s):
            for m in sorted(self.positions[s][1]):
                entries.append(self._close(m, s))
        self.positions = {s: p for s, p in self.positions.items() if p[1]}
        charged = self._losses()
        self._share(slot, entries)
        outcome = self._clear(block, limits, entries, fault)
        outcome.lost = charged
        _in_order(block.commits, lambda c: c.member, fault)
        for c in block.commits:
            if c.slot != slot + 2:
                fault(c, f"is not for slot {slot + 2}")
            self._barred(c, fault)
        digests = {c.member: c.digest for c in block.commits if c.member < self.genesis.n}  # from nobody: check says so
        if digests:
            self.commits[slot + 2] = digests
        self.enter(block, fault)
        return outcome

    def _bar(self, member):
        """Why a member may not trade; None if it may."""
        if member >= self.genesis.n:
            return "is from nobody of the street"
        if self.genesis.roles(member) & (HEAD | LEFT):
            return "is from one that does not trade"
        return "is from a member that is excluded" if self.excluded >> member & 1 else None

    def _credit(self, o, fault):
        """Against the agreed balances before this block: what the order and the open trades may cost at worst."""
        g = self.genesis
        if o.member >= g.n or g.credit_limit_ucr == street.NO_LIMIT:
            return
        room = self.accounts[o.member].balance_ucr + g.credit_limit_ucr
        for s, (price, fills) in self.positions.items():
            bought, sold = fills.get(o.member, (0, 0))
            room -= rules.exposure(g.tariff(s), [(price, bought)], [(price, sold)])
        risk = rules.exposure(g.tariff(o.slot), o.buy, o.sell)
        if risk > room:
            fault(o, f"may cost {risk} ucr, and the member's credit is {room}")

    def _barred(self, record, fault):
        if self._bar(record.member):
            fault(record, self._bar(record.member))

    def domain(self):
        """What votes are signed under: those of two regimes never mix."""
        return sha256(self.genesis.feeder_id + self.regime()).digest()[:8]

    def enter(self, block, fault):
        """Who votes behind this block."""
        g = self.genesis
        for e in block.evidence:
            if e.fault():
                fault(e, e.fault())
            elif e.member not in street.able(g, self.excluded):
                fault(e, "is against somebody who does not vote anyway")
            else:
                self.excluded |= 1 << e.member
        for new in block.amendments:
            trouble = street.successor_fault(g, new)
            if trouble:
                fault(new, trouble)
                continue
            for m in range(new.n):
                if m >= g.n:
                    self.accounts.append(Account())
                elif new.members[m][0] != g.members[m][0]:  # another meter: registers and chain of readings begin anew
                    a = self.accounts[m]
                    a.next_seq = a.import_mwh = a.export_mwh = a.generation_mwh = 0
                    a.head = bytes(32)
                    self.excluded &= ~(1 << m)
            self.genesis = new
        for digests in self.commits.values():
            for m in [m for m in digests if self._bar(m)]:
                del digests[m]
        if len(street.able(self.genesis, self.excluded)) > street.COMMITTEE:
            self.epoch = block.slot // street.EPOCH_SLOTS

    def _close(self, member, slot, kind="missing", import_mwh=0, export_mwh=0):
        """Settle what a member traded for a slot; with kind "missing" as if nothing had been metered."""
        price, fills = self.positions.get(slot, (0, {}))
        bought, sold = fills.pop(member, (0, 0))
        return self._book(rules.settle(self.genesis.tariff(slot), member, slot, kind, price, bought, sold, import_mwh, export_mwh))

    def _read(self, slot, r, entries, fault):
        roles, a = self.genesis.roles(r.member), self.accounts[r.member]
        if r.seq < a.next_seq + LATE:  # from there on it may leave out readings that are lost
            if r.seq != a.next_seq:
                fault(r, f"has sequence number {r.seq}, {a.next_seq} is next")
            elif r.previous != a.head:
                fault(r, "does not continue the member's chain of readings")
        if not a.next_slot <= r.slot < slot:
            fault(r, f"is for slot {r.slot}; {a.next_slot} to {slot - 1} may be read here")
        first = not a.next_seq
        unread_import = 0 if first else r.import_mwh - r.interval_import_mwh - a.import_mwh
        unread_export = 0 if first else r.export_mwh - r.interval_export_mwh - a.export_mwh
        minted = r.interval_generation_mwh if first else r.generation_mwh - a.generation_mwh
        if unread_import < 0 or unread_export < 0 or minted < r.interval_generation_mwh:
            fault(r, "has a register that went back")
        self._plausible(r, a, fault)
        if not roles & HEAD:
            self._trades(r, unread_import, unread_export, entries)
        self._meter(a, roles & HEAD, first, r.interval_import_mwh + unread_import - r.interval_export_mwh - unread_export)
        if roles & GENERATES:
            a.green_mwh += max(0, minted)
            self.minted[r.member] = self.minted.get(r.member, 0) + max(0, minted)
            self.coins.append((r.member, r.slot, "minted", r.member, max(0, minted), ""))
        a.import_mwh, a.export_mwh, a.generation_mwh = r.import_mwh, r.export_mwh, r.generation_mwh
        a.next_slot, a.next_seq, a.head = r.slot + 1, r.seq + 1, r.hash(self.genesis.feeder_id)

    def _trades(self, r, unread_import, unread_export, entries):
        """Settle what a house's reading closes: its slot, what was open before it by rule, and unread energy at the tariff."""
        if r.faulty or r.accuracy < self.genesis.accuracy:
            unread_import, unread_export = unread_import + r.interval_import_mwh, unread_export + r.interval_export_mwh
        else:
            entries.append(self._close(r.member, r.slot, "settled", r.interval_import_mwh, r.interval_export_mwh))
        for s in sorted(s for s, (_, fills) in self.positions.items() if s <= r.slot and r.member in fills):
            entries.append(self._close(r.member, s))
        if unread_import or unread_export:  # of one slot, or of nobody knows which
            tariff = self.genesis.tariff(r.slot) if r.slot == self.accounts[r.member].next_slot else self.genesis.dearest()
            entries.append(self._book(rules.settle(tariff, r.member, r.slot, "gap", 0, 0, 0, unread_import, unread_export)))

    def _plausible(self, r, a, fault):
        """A fuse lets pass twice its rating for a while; what came in since the last reading has no more slots than that."""
        most = 2 * self.genesis.fuse_mwh(r.member)
        unread = max(r.import_mwh - r.interval_import_mwh - a.import_mwh, r.export_mwh - r.interval_export_mwh - a.export_mwh,
                     r.generation_mwh - r.interval_generation_mwh - a.generation_mwh) if a.next_seq else 0
        if max(r.interval_import_mwh, r.interval_export_mwh, r.interval_generation_mwh) > most \
                or unread > most * (r.slot + 1 - a.next_slot):
            fault(r, "has more energy than the member's fuse lets through")
        if r.seq == 0xFFFFFFFF:
            fault(r, "has the last sequence number there is, so that none could follow")

    def _clear(self, block, limits, entries, fault):
        slot, g = block.slot + 1, self.genesis
        digests = self.commits.get(slot, {})
        good = []
        _in_order(block.orders, lambda o: o.member, fault)
        for o in block.orders:
            if o.slot != slot:
                fault(o, f"is not for slot {slot}")
            elif o.member not in digests:
                fault(o, "was never sealed by a commit")
            elif o.hash(g.feeder_id) != digests[o.member]:
                fault(o, "is not the one that its commit sealed")
            elif rules.order_fault(g.tariff(slot), o):
                fault(o, rules.order_fault(g.tariff(slot), o))
            elif o.sell and not g.roles(o.member) & (GENERATES | STORES):
                fault(o, "sells, and its member neither generates nor stores")
            elif o.member not in [x.member for x in good]:
                good.append(o)
        penalized = sorted(set(digests) - {o.member for o in block.orders})
        for m in penalized:
            entries.append(self._book(Entry(m, slot, "penalty", penalty_ucr=-g.penalty_ucr)))
        self.commits = {s: d for s, d in self.commits.items() if s > slot}
        cleared = rules.clear(slot, g.tariff(slot), limits, good)
        if cleared.fault:
            fault(None, f"clearing of slot {slot}: {cleared.fault}")
        fills = {m: f for m, f in cleared.fills.items() if f != (0, 0)}
        if fills:
            self.positions[slot] = (cleared.price_ucr_per_kwh, fills)
        pool = rules.pool_ucr(g.tariff(slot), cleared)
        self.feeder_ucr += pool
        self.utility_ucr -= pool
        return Outcome(cleared, limits, entries, penalized, self.minted, coins=self.coins, tariff=g.tariff(slot))


def _trades(trades):
    packed = [struct.pack(">IIII", *t) for t in trades]
    return struct.pack(">H", len(packed)) + b"".join(packed)


def _in_order(records, key, fault):
    for a, b in zip(records, records[1:]):
        if key(a) >= key(b):
            fault(b, "stands in the wrong place: records are sorted and none is there twice")
