"""What moves an account beside trades: coins and payments, the feeder account shared out, what a head meter shows to be lost.

`Accounts` is a part of books.Books, whose fields it works on.
"""
import struct
from dataclasses import dataclass

from .genesis import HEAD, LEFT
from .records import GIVE, OPERATOR, PAY_IN, PAY_OUT, RETIRE
from .rules import Entry, down, settle

NOT_BEGUN = -(1 << 63)  # lost_mwh until head and houses stand at one slot


@dataclass
class Account:
    balance_ucr: int = 0
    green_mwh: int = 0
    next_slot: int = 0
    next_seq: int = 0
    import_mwh: int = 0
    export_mwh: int = 0
    generation_mwh: int = 0
    head: bytes = bytes(32)
    retired_mwh: int = 0
    next_transfer: int = 0

    def pack(self):
        return struct.pack(">qQIIQQQ32sQI", self.balance_ucr, self.green_mwh, self.next_slot, self.next_seq, self.import_mwh,
                           self.export_mwh, self.generation_mwh, self.head, self.retired_mwh, self.next_transfer)


class Accounts:
    def _book(self, entry):
        self.accounts[entry.member].balance_ucr += entry.member_ucr
        self.feeder_ucr += entry.feeder_ucr
        self.utility_ucr += entry.utility_ucr
        return entry

    def _transfer(self, t, slot, entries, fault):
        """Coins of a member, or the operator's payment. One that breaks a rule is not booked."""
        trouble = self._transfer_fault(t)
        if trouble:
            return fault(t, trouble)
        to = self.accounts[t.to]
        if t.member == OPERATOR:
            self.operator_seq += 1
            amount = t.amount if t.kind == PAY_IN else -t.amount
            entries.append(self._book(Entry(t.to, slot, "payment", payment_ucr=amount, utility_ucr=-amount)))
            return None
        giver = self.accounts[t.member]
        giver.next_transfer += 1
        note = t.note.rstrip(b"\0").decode(errors="replace")
        self.coins.append((t.member, slot, "given" if t.kind == GIVE else "retired", t.to, t.amount, note))
        giver.green_mwh -= t.amount
        if t.kind == GIVE:
            to.green_mwh += t.amount
        else:
            giver.retired_mwh += t.amount
        return None

    def _transfer_fault(self, t):
        by_operator = t.member == OPERATOR
        if not by_operator and t.member >= len(self.accounts):
            return "is from nobody of the street"
        due = self.operator_seq if by_operator else self.accounts[t.member].next_transfer
        if t.seq != due or due == 0xFFFFFFFF:
            return f"has sequence number {t.seq}, {due} is next"
        if t.to >= len(self.accounts):
            return "goes to nobody of the street"
        if not 0 < t.amount < 1 << 48:
            return f"is of {t.amount}: too little or too much"
        if t.kind not in ((PAY_IN, PAY_OUT) if by_operator else (GIVE, RETIRE)):
            return f"is of kind {t.kind}, which is not for {'the operator' if by_operator else 'a member'} to sign"
        to = self.accounts[t.to]
        if by_operator:
            if t.kind == PAY_OUT and t.amount > to.balance_ucr:
                return f"pays out {t.amount} ucr of {to.balance_ucr}"
            return "pays into an account that is full" if t.kind == PAY_IN and to.balance_ucr >= 1 << 62 else None
        if (t.kind == RETIRE) != (t.to == t.member):
            return "retires coins for somebody else" if t.kind == RETIRE else "gives coins to their owner"
        held = self.accounts[t.member].green_mwh
        return f"moves {t.amount} mWh of coins, {held} are held" if t.amount > held else None

    def _meter(self, account, head, first, net):
        """Count what went in at the head and what arrived in the houses; anew when a meter joins."""
        if first:
            self.lost_mwh = NOT_BEGUN
        elif self.lost_mwh != NOT_BEGUN:
            self.lost_mwh += net if head else -net

    def _losses(self):
        """Charge the street for what was lost once head and houses are read up to one slot; (mWh, ucr)."""
        g, lost = self.genesis, self.lost_mwh
        there = [m for m in range(g.n) if not g.roles(m) & LEFT]
        stands = {self.accounts[m].next_slot for m in there}
        if not any(g.roles(m) & HEAD for m in there):
            self.lost_mwh = 0
            return 0, 0
        if len(stands) > 1:
            return 0, 0
        self.lost_mwh = 0
        if lost == NOT_BEGUN:
            return 0, 0
        cost = down(g.tariff(stands.pop() - 1).retail, lost)
        self.feeder_ucr -= cost
        self.utility_ucr += cost
        return lost, cost

    def _share(self, slot, entries):
        """In the first block of a local month: the feeder account, or its debt, in equal parts; the rest stays.

        What the pool dealt with the utility for trades that are still open counts together with what their members will pay."""
        month = self.genesis.month(slot)
        if month <= self.month:
            return
        self.month = month
        mine = [m for m in range(self.genesis.n) if not self._bar(m)]
        there = self.feeder_ucr + sum(settle(self.genesis.tariff(s), m, s, "open", price, bought, sold, bought, sold).feeder_ucr
                                      for s, (price, fills) in self.positions.items() for m, (bought, sold) in fills.items())
        part = there // len(mine) if mine else 0
        if part:
            entries += [self._book(Entry(m, slot, "share", share_ucr=part)) for m in mine]
