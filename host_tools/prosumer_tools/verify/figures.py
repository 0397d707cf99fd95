"""What a run's tables state, worked out again from its records: slots.csv, homes.csv, readings.csv, summary.json; and whose keys.bin is.

A number that a record states or that follows from records must be that number; each that is not is a fault that names file, line and
column. Batteries and the day without the market stand in no record, and a page cannot be worked out from them: these come back as
what was not checked.
"""
import csv
import datetime
import json

from .keys import Key

TABLES = ("slots.csv", "homes.csv", "readings.csv", "summary.json")
KWH = 1_000_000
_KEYS_TAG = b"prosumer/keys/v1\0"
_OTHERWISE = {"archive.db": "`prosumer archive check`", "receipt.bin": "`prosumer check-receipt`"}  # who checks these


class Figures:
    """Gathers what the blocks state while they are walked over; `check` compares. `n`: members of the first genesis."""

    def __init__(self, genesis):
        self.genesis = genesis
        self.clearings, self.limits, self.readings, self.paid = {}, {}, {}, {}
        self.last = 0

    def take(self, block, outcome):
        self.last = block.slot
        self.clearings[block.slot + 1], self.limits[block.slot + 1] = outcome.clearing, outcome.limits
        self.readings |= {(r.slot, r.member): r for r in block.readings}
        for e in outcome.entries:
            self.paid[e.member] = self.paid.get(e.member, 0) + e.payment_ucr

    def check(self, run, names, accounts, counts, fault):
        """How many figures were compared, and [what was not checked]. `fault(where, text)`; `counts`: of the walk."""
        self.run, self.names, self.fault, self.compared, self.unstated = run, names, fault, 0, []
        there = [name for name in TABLES if (run / name).is_file()]
        if there or (run / "report.html").is_file():
            for name in sorted(set(TABLES) - set(there)):
                fault(name, "is missing")
            self.rows = self._rows(self._slots())
            if len(self.rows["slots.csv"]) < self.last:
                fault("run.json", f"says {len(self.rows['slots.csv'])} slots, the records go up to slot {self.last}")
            homes = self.rows["homes.csv"] = self._homes(accounts)
            for name in there:
                if name != "summary.json":
                    self._table(name, self.rows[name])
                else:
                    self._summary(homes, counts)
        return self.compared, self.unstated

    # -- what the records say

    def _slots(self):
        """How many slots the tables are about: run.json says it, and no fewer than are final."""
        try:
            return int(json.loads((self.run / "run.json").read_text())["slots"])
        except (OSError, ValueError, KeyError, TypeError):
            return self.last

    def _rows(self, slots):
        g, by_slot, by_home = self.genesis, [], []
        self.sums = [dict.fromkeys(("imported_mwh", "exported_mwh", "generated_mwh", "bought_mwh", "sold_mwh"), 0) for _ in range(g.n)]
        self.neighbours = self.missing = self.over = 0
        for k in range(slots):
            clearing, start = self.clearings.get(k), self._start(k)
            taken = given = 0
            for m in range(g.n):
                r = self.readings.get((k, m))
                bought, sold = clearing.fills.get(m, (0, 0)) if clearing else (0, 0)
                energy = (r.interval_import_mwh, r.interval_export_mwh, r.interval_generation_mwh) if r else (0, 0, 0)
                by_home.append({"slot": k, "start": start, "home": self.names.get(m), "import_mwh": energy[0], "export_mwh": energy[1],
                                "generation_mwh": energy[2], "bought_mwh": bought, "sold_mwh": sold, "missing": int(r is None)})
                for key, value in zip(self.sums[m], (*energy, min(bought, energy[0]), min(sold, energy[1]))):
                    self.sums[m][key] += value
                taken, given, self.missing = taken + energy[0], given + energy[1], self.missing + (r is None)
            limits = self.limits.get(k, (g.import_limit_mwh, g.export_limit_mwh))
            into, out = max(taken - given, 0), max(given - taken, 0)
            volume = clearing.volume_mwh if clearing else 0
            self.neighbours += min(volume, taken, given)
            self.over += into > limits[0] or out > limits[1]
            by_slot.append({"slot": k, "start": start, "void": int(clearing is None and k > 1),
                            "price_ucr_per_kwh": clearing.price_ucr_per_kwh if clearing else "", "volume_mwh": volume,
                            "feeder_import_mwh": into, "feeder_export_mwh": out, "limit_import_mwh": limits[0], "limit_export_mwh": limits[1]})
        return {"slots.csv": by_slot, "readings.csv": by_home}

    def _start(self, slot):
        zone = datetime.timezone(datetime.timedelta(minutes=self.genesis.utc_offset_min))
        return datetime.datetime.fromtimestamp(self.genesis.start_s + slot * self.genesis.slot_s, zone).isoformat()

    def _homes(self, accounts):
        return [{"home": self.names.get(m), **self.sums[m], "paid_ucr": self.paid.get(m, 0) - accounts[m].balance_ucr,
                 "balance_ucr": accounts[m].balance_ucr, "green_mwh": accounts[m].green_mwh} for m in range(self.genesis.n)]

    def _totals(self, homes):
        slots = self.rows["slots.csv"]

        def of(rows, key):
            return sum(row[key] for row in rows)
        priced = [s for s in slots if s["volume_mwh"]]
        volume, made, given = of(priced, "volume_mwh"), of(homes, "generated_mwh"), of(homes, "exported_mwh")
        return {"traded_mwh": volume, "neighbours_mwh": self.neighbours, "generation_mwh": made, "import_mwh": of(homes, "imported_mwh"),
                "export_mwh": given, "feeder_import_mwh": of(slots, "feeder_import_mwh"), "feeder_export_mwh": of(slots, "feeder_export_mwh"),
                "self_consumption": (made - given + self.neighbours) / made if made else None, "paid_ucr": of(homes, "paid_ucr"),
                "mean_price_ucr_per_kwh": sum(s["volume_mwh"] * s["price_ucr_per_kwh"] for s in priced) // volume if volume else None,
                "traded_slots": len(priced), "void_slots": of(slots, "void"), "over_limit_slots": self.over, "missing_readings": self.missing,
                "green_mwh": of(homes, "green_mwh")}

    # -- what the files say

    def _table(self, name, rows):
        try:
            with open(self.run / name, newline="", encoding="utf-8") as file:
                lines = list(csv.reader(file, strict=True))
        except (ValueError, csv.Error):
            self.fault(name, "is no CSV")
            return
        head = lines[0] if lines else []
        said = [dict(zip(head, line)) for line in lines[1:]]
        for i, line in enumerate(lines[1:], 2):
            if len(line) != len(head):
                self.fault(name, f"line {i} has {len(line)} cells, the first line {len(head)}")
        if len(set(head)) != len(head):
            self.fault(name, "names a column twice")
        if len(said) != len(rows):
            self.fault(name, f"has {len(said)} rows, the records give {len(rows)}")
        wanted = list(rows[0]) if rows else []
        for column in (c for c in wanted if c not in head):
            self.fault(name, f"has no column {column}")
        for i, (cells, row) in enumerate(zip(said, rows), 2):
            self._compare(name, f"line {i}", {c: cells[c] for c in wanted if c in cells}, {c: str(v) for c, v in row.items() if v is not None})
        self._unstated(name, [c for c in head if c not in wanted])

    def _summary(self, homes, counts):
        name, g = "summary.json", self.genesis
        try:
            said = json.loads((self.run / name).read_text(encoding="utf-8"))
            parts = [said, said["tariff"], said["totals"], *said["homes"]]
            if not all(isinstance(p, dict) for p in parts):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            self.fault(name, "is no summary of a run")
            return
        slots = self.rows["slots.csv"]
        self._object("", said, {"street": g.name, "slots": len(slots), "slot_minutes": g.slot_s // 60, "start": self._start(0) if slots else None},
                     ("tariff", "totals", "homes", "verdict"))
        self._object("tariff.", said["tariff"], {"retail_ucr_per_kwh": g.retail, "feed_in_ucr_per_kwh": g.feed_in, "local_fee_ucr_per_kwh": g.local_fee})
        self._object("totals.", said["totals"], self._totals(homes))
        if len(said["homes"]) != len(homes):
            self.fault(name, f"has {len(said['homes'])} homes, the street {len(homes)}")
        for i, (told, row) in enumerate(zip(said["homes"], homes)):
            self._object(f"homes[{i}].", told, {k: v for k, v in row.items() if v is not None}, unstated=False)
        verdict = said.get("verdict")
        if isinstance(verdict, dict):  # of the check at the run's end; now, too, there is no fault
            told = verdict.get("counts") if isinstance(verdict.get("counts"), dict) else {}
            self._object("verdict.", verdict, {"ok": True, "faults": []}, ("counts",))
            self._object("verdict.counts.", told, {k: v for k, v in counts.items() if k in told and k != "signatures"})

    def _object(self, prefix, said, want, parts=(), unstated=True):
        for key in (k for k in want if k not in said):
            self.fault("summary.json", f"has no {prefix}{key}")
        self._compare("summary.json", "", {prefix + k: said[k] for k in want if k in said}, {prefix + k: v for k, v in want.items()})
        if unstated:
            self._unstated("summary.json", [prefix + k for k in said if k not in want and k not in parts])

    def _compare(self, name, where, said, want):
        for column in (c for c in said if c in want):
            self.compared += 1
            if said[column] != want[column] or type(said[column]) is not type(want[column]):
                at = f"{name} {where}".strip()
                of = f" ({want['home']})" if want.get("home") else f" (slot {want['slot']})" if where and "slot" in want else ""
                self.fault(at + of, f"{column} is {said[column]!r}, by the records {want[column]!r}")

    def _unstated(self, name, columns):
        alone = [c for c in columns if "without_market" in c or "_alone" in c]
        said = [c for c in columns if c not in alone] + ["what the day would be without the market"] * bool(alone)
        if said:
            self.unstated.append(f"of {name} {', '.join(said)}")


def keys_fault(raw, genesis):
    """Why keys.bin is not the operator's record of wrapped feeder keys for this street; None if it is. What is wrapped only members see."""
    if len(raw) < 100 or raw[0] != 13 or len(raw) != 100 + 48 * raw[35]:
        return "is no keys record"
    if raw[35] != genesis.n:
        return f"is for {raw[35]} members, the street has {genesis.n}"
    return None if Key(genesis.operator).signed(_KEYS_TAG + genesis.feeder_id + raw[:-64], raw[-64:]) else "the operator's signature does not match"


def other_files(run, checked):
    """What else lies in the folder, each with who checks it if somebody does."""
    names = sorted(p.name + "/" * p.is_dir() for p in run.iterdir() if p.name not in checked and not p.name.endswith(("-wal", "-shm")))
    return [f"{n} ({_OTHERWISE[n]} does)" if n in _OTHERWISE else n for n in names]
