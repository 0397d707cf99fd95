"""What moved each account, slot by slot, from the final blocks alone: one line for each entry of the settlement.

A line belongs to the slot of its delivery, also when the reading came late, so a month holds what was delivered in it, and the balance
is what deliveries up to there came to. Payments, coins that move and the share of the feeder account belong to the block that booked
them. Over the whole run that comes to the ledger's balances of money and coins, which is checked. Units: mWh and micro-credits.
"""
import datetime
from dataclasses import dataclass, field
from pathlib import Path

from prosumer_tools.verify import records, rules
from prosumer_tools.verify.check import load_run, names_of

MEMBER = ("slot", "start", "kind", "price_ucr_per_kwh", "bought_mwh", "sold_mwh", "import_mwh", "export_mwh",
          "trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr", "penalty_ucr", "share_ucr", "payment_ucr", "change_ucr", "balance_ucr",
          "minted_mwh", "received_mwh", "given_mwh", "retired_mwh", "coins_mwh")
FEEDER = ("slot", "start", "price_ucr_per_kwh", "congestion_ucr_per_kwh", "volume_mwh", "import_mwh", "export_mwh", "lost_mwh",
          "utility_ucr", "members_ucr", "rent_ucr", "loss_ucr", "fee_ucr", "penalty_ucr", "rounding_ucr", "shared_ucr",
          "change_ucr", "balance_ucr")
_COINS = {"minted": 1, "received": 1, "given": -1, "retired": -1}


class StatementError(ValueError):
    """No such member or month in the run."""


@dataclass
class Statement:
    """Lines of one account, dicts of COLUMNS; `opening_ucr` is the balance before the first."""

    name: str
    street: str
    period: str
    columns: tuple
    opening_ucr: int = 0
    lines: list = field(default_factory=list)
    opening_mwh: int = 0  # coins held

    @property
    def closing_ucr(self):
        return self.lines[-1]["balance_ucr"] if self.lines else self.opening_ucr

    def total(self, column):
        return sum(line[column] for line in self.lines)


class Accounts:
    """All accounts of a run. Raises Malformed or BadRun from the reading of it."""

    def __init__(self, run):
        self.genesis = records.genesis((Path(run) / "genesis.bin").read_bytes())
        self._entries, self._coins = {}, {}   # member → Entries; member → {slot: {kind: mWh}}
        self._cleared, self._lost = {}, {}    # slot → Outcome that cleared it; slot → (mWh, ucr) by the head meter
        step = None
        for step in load_run(run):
            self._cleared[step.block.slot + 1] = step.outcome
            self._lost[step.block.slot - 1] = step.outcome.lost
            for e in step.outcome.entries:
                self._entries.setdefault(e.member, []).append(e)
            for member, slot, kind, to, mwh, _ in step.outcome.coins:
                self._coin(member, slot, kind, mwh)
                if kind == "given":
                    self._coin(to, slot, "received", mwh)
        if step is None:
            raise StatementError(f"{run} has no final blocks")
        self.genesis, names = step.genesis, names_of(run)
        self.names = [names.get(m, f"member-{m}") for m in range(self.genesis.n)]
        for m, (balance, coins) in enumerate(zip(step.balances_ucr, step.green_mwh)):
            if sum(e.member_ucr for e in self._entries.get(m, ())) != balance:
                raise StatementError(f"the entries of {self.names[m]} do not add up to the balance in the ledger")
            if sum(_COINS[kind] * mwh for sums in self._coins.get(m, {}).values() for kind, mwh in sums.items()) != coins:
                raise StatementError(f"the coins of {self.names[m]} do not add up to those in the ledger")

    def _coin(self, member, slot, kind, mwh):
        sums = self._coins.setdefault(member, {}).setdefault(slot, dict.fromkeys(_COINS, 0))
        sums[kind] += mwh

    def months(self):
        """Those in which something was delivered or booked, 'YYYY-MM'."""
        return sorted({self._start(e.slot)[:7] for entries in self._entries.values() for e in entries})

    def member(self, name, month=None):
        if name not in self.names:
            raise StatementError(f"no member {name!r}; there are {', '.join(self.names)} and feeder")
        member, lines = self.names.index(name), []
        coins = {slot: dict(sums) for slot, sums in self._coins.get(member, {}).items()}
        entries = [*self._entries.get(member, ()), *(rules.Entry(member, slot, "coins") for slot in coins)]
        for e in sorted(entries, key=lambda e: (e.slot, e.kind == "coins")):
            outcome, moved = self._cleared.get(e.slot), coins.pop(e.slot, None)
            if e.kind == "coins" and not (moved and any(moved.values())):
                continue  # they stand on another line of the slot
            moved = moved or dict.fromkeys(_COINS, 0)
            lines.append({"slot": e.slot, "start": self._start(e.slot), "kind": e.kind,
                          "price_ucr_per_kwh": outcome.clearing.price_ucr_per_kwh if outcome and (e.bought_mwh or e.sold_mwh) else "",
                          "bought_mwh": e.bought_mwh, "sold_mwh": e.sold_mwh, "import_mwh": e.import_mwh, "export_mwh": e.export_mwh,
                          **{leg: getattr(e, leg) for leg in e.LEGS}, "change_ucr": e.member_ucr,
                          **{f"{kind}_mwh": mwh for kind, mwh in moved.items()}})
        held = 0
        for line in lines:
            held += sum(sign * line[f"{kind}_mwh"] for kind, sign in _COINS.items())
            line["coins_mwh"] = held
        return self._statement(name, MEMBER, lines, month)

    def feeder(self, month=None):
        """The pool's account: what members pay it less what it pays the utility, what that is made of, and what was shared out of it."""
        of = {}
        for entries in self._entries.values():
            for e in entries:
                of.setdefault(e.slot, []).append(e)
        traded = {s for s, o in self._cleared.items() if o.clearing.volume_mwh or o.clearing.import_mwh or o.clearing.export_mwh}
        lines = [self._slot(slot, of.get(slot, [])) for slot in sorted(set(of) | traded | {s for s, (_, ucr) in self._lost.items() if ucr})]
        return self._statement("feeder", FEEDER, lines, month)

    def _slot(self, slot, entries):
        outcome, (head_mwh, head_ucr) = self._cleared.get(slot), self._lost.get(slot, (0, 0))
        c, tariff = (outcome.clearing, outcome.tariff) if outcome else (None, self.genesis)
        volume, bought, sold, congestion = (c.volume_mwh, c.import_mwh, c.export_mwh, c.congestion_ucr_per_kwh) if c else (0, 0, 0, 0)
        lost = -(-volume * tariff.loss_per_mille // 1000)
        shared = -sum(e.share_ucr for e in entries)
        utility, members = (rules.pool_ucr(tariff, c) if c else 0) - head_ucr, sum(e.feeder_ucr for e in entries) - shared
        parts = {"rent_ucr": rules.down(congestion, bought + sold),
                 "loss_ucr": -sum(e.loss_ucr for e in entries) - rules.up(tariff.retail, lost) - head_ucr,
                 "fee_ucr": -sum(e.fee_ucr for e in entries), "penalty_ucr": -sum(e.penalty_ucr for e in entries)}
        return {"slot": slot, "start": self._start(slot), "price_ucr_per_kwh": c.price_ucr_per_kwh if c else "",
                "congestion_ucr_per_kwh": congestion, "volume_mwh": volume, "import_mwh": bought, "export_mwh": sold,
                "lost_mwh": lost + head_mwh, "utility_ucr": utility, "members_ucr": members, **parts,
                "rounding_ucr": utility + members - sum(parts.values()), "shared_ucr": shared, "change_ucr": utility + members + shared}

    def _start(self, slot):
        """Local time as the genesis has it."""
        offset = datetime.timezone(datetime.timedelta(minutes=self.genesis.utc_offset_min))
        return self.genesis.local(slot).replace(tzinfo=offset).isoformat()
    def _statement(self, name, columns, lines, month):
        balance = 0
        for line in lines:
            balance += line["change_ucr"]
            line["balance_ucr"] = balance
        before = []
        if month:
            if month not in self.months():
                raise StatementError(f"nothing was delivered in {month}; there is {', '.join(self.months())}")
            before = [line for line in lines if line["start"][:7] < month]
            lines = [line for line in lines if line["start"][:7] == month]
        return Statement(name, self.genesis.name, month or " and ".join(sorted({self.months()[0], self.months()[-1]})), columns,
                         before[-1]["balance_ucr"] if before else 0, lines, before[-1].get("coins_mwh", 0) if before else 0)

