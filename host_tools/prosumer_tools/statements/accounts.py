"""What moved each account, slot by slot, from the final blocks alone: one line for each entry of the settlement.

A line belongs to the slot of its delivery, also when the reading came late, so a month holds what was delivered in it, and the balance
is what deliveries up to there came to. Over the whole run that is the ledger's balance, which is checked. Units: mWh and micro-credits.
"""
import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path

from prosumer_tools.verify import records, rules
from prosumer_tools.verify.check import load_run, names_of

MEMBER = ("slot", "start", "kind", "price_ucr_per_kwh", "bought_mwh", "sold_mwh", "import_mwh", "export_mwh",
          "trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr", "penalty_ucr", "change_ucr", "balance_ucr")
FEEDER = ("slot", "start", "price_ucr_per_kwh", "congestion_ucr_per_kwh", "volume_mwh", "import_mwh", "export_mwh", "lost_mwh",
          "utility_ucr", "members_ucr", "rent_ucr", "loss_ucr", "fee_ucr", "penalty_ucr", "rounding_ucr", "change_ucr", "balance_ucr")
_LEGS = ("trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr", "penalty_ucr")


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

    @property
    def closing_ucr(self):
        return self.lines[-1]["balance_ucr"] if self.lines else self.opening_ucr

    def total(self, column):
        return sum(line[column] for line in self.lines)


class Accounts:
    """All accounts of a run. Raises Malformed or BadRun from the reading of it."""

    def __init__(self, run):
        self.genesis = g = records.genesis((Path(run) / "genesis.bin").read_bytes())
        names = names_of(run)
        self.names = [names.get(m, f"member-{m}") for m in range(g.n)]
        self._offset = datetime.timezone(datetime.timedelta(seconds=_offset_s(run)))
        self._entries = [[] for _ in range(g.n)]   # member → Entries
        self._cleared = {}                         # slot → Clearing
        step = None
        for step in load_run(run):
            self._cleared[step.block.slot + 1] = step.outcome.clearing
            for e in step.outcome.entries:
                self._entries[e.member].append(e)
        if step is None:
            raise StatementError(f"{run} has no final blocks")
        for m, balance in enumerate(step.balances_ucr):
            if sum(e.member_ucr for e in self._entries[m]) != balance:
                raise StatementError(f"the entries of {self.names[m]} do not add up to the balance in the ledger")

    def months(self):
        """Those in which something was delivered, 'YYYY-MM'."""
        return sorted({self._start(e.slot).strftime("%Y-%m") for entries in self._entries for e in entries})

    def member(self, name, month=None):
        if name not in self.names:
            raise StatementError(f"no member {name!r}; there are {', '.join(self.names)} and feeder")
        lines = []
        for e in sorted(self._entries[self.names.index(name)], key=lambda e: e.slot):
            cleared = self._cleared.get(e.slot)
            lines.append({"slot": e.slot, "start": self._start(e.slot).isoformat(), "kind": e.kind,
                          "price_ucr_per_kwh": cleared.price_ucr_per_kwh if cleared and (e.bought_mwh or e.sold_mwh) else "",
                          "bought_mwh": e.bought_mwh, "sold_mwh": e.sold_mwh, "import_mwh": e.import_mwh, "export_mwh": e.export_mwh,
                          **{leg: getattr(e, leg) for leg in _LEGS}, "change_ucr": e.member_ucr})
        return self._statement(name, MEMBER, lines, month)

    def feeder(self, month=None):
        """The pool's account: what members pay it less what it pays the utility, and what that is made of."""
        g, of = self.genesis, {}
        for entries in self._entries:
            for e in entries:
                of.setdefault(e.slot, []).append(e)
        lines = []
        for slot in sorted(set(of) | {s for s, c in self._cleared.items() if c.volume_mwh or c.import_mwh or c.export_mwh}):
            c, entries = self._cleared.get(slot), of.get(slot, [])
            volume, bought, sold = (c.volume_mwh, c.import_mwh, c.export_mwh) if c else (0, 0, 0)
            lost = -(-volume * g.loss_per_mille // 1000)
            utility, members = rules.pool_ucr(g, c) if c else 0, sum(e.feeder_ucr for e in entries)
            congestion = c.congestion_ucr_per_kwh if c else 0
            parts = {"rent_ucr": rules.down(congestion, bought + sold),
                     "loss_ucr": -sum(e.loss_ucr for e in entries) - rules.up(g.retail, lost),
                     "fee_ucr": -sum(e.fee_ucr for e in entries), "penalty_ucr": -sum(e.penalty_ucr for e in entries)}
            lines.append({"slot": slot, "start": self._start(slot).isoformat(), "price_ucr_per_kwh": c.price_ucr_per_kwh if c else "",
                          "congestion_ucr_per_kwh": congestion, "volume_mwh": volume, "import_mwh": bought, "export_mwh": sold,
                          "lost_mwh": lost, "utility_ucr": utility, "members_ucr": members, **parts,
                          "rounding_ucr": utility + members - sum(parts.values()), "change_ucr": utility + members})
        return self._statement("feeder", FEEDER, lines, month)

    def _start(self, slot):
        return datetime.datetime.fromtimestamp(self.genesis.start_s + slot * self.genesis.slot_s, self._offset)

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
                         before[-1]["balance_ucr"] if before else 0, lines)


def _offset_s(run):
    """Local time is nobody's signed word: run.json tells it, UTC otherwise."""
    try:
        offset = json.loads((Path(run) / "run.json").read_text()).get("utc_offset_s", 0)
    except (OSError, ValueError, AttributeError):
        return 0
    return offset if type(offset) is int and abs(offset) < 86400 else 0
