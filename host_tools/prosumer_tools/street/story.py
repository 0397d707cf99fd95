"""Final blocks → what happened in each slot and home: for the live view while it runs and for the report at its end.

Decoding and books are those of `prosumer verify` (independent of the firmware); nothing here is asked from a meter.
"""
import datetime
import json

from prosumer_tools.emulator.baseline import baseline
from prosumer_tools.verify import records
from prosumer_tools.verify.books import Books
from prosumer_tools.view import Counters, HomeData, HomeSlot, RunData, SlotData, Verdict, WalkStep

_KWH = 1_000_000


class Story:
    """`take(block bytes)` for each final block in order of slots; returns the SlotData that it completes."""

    def __init__(self, genesis_bytes, utc_offset_s=0, battery_mwh=None):
        self.genesis = records.genesis(genesis_bytes)
        self.books = Books(self.genesis)
        self.zone = datetime.timezone(datetime.timedelta(seconds=utc_offset_s))
        self.battery_mwh = battery_mwh or (lambda slot: [0] * self.genesis.n)
        self.clearings, self.limits, self.readings, self.entries = {}, {}, {}, {}
        self.blocks = {}
        self.payments_ucr = {}   # member → what the operator booked for it
        self.told = -1

    def take(self, raw):
        block = records.block(raw)
        slot = block.slot
        outcome = self.books.apply(block, lambda record, text: None)
        self.blocks[slot] = block
        self.clearings[slot + 1], self.limits[slot + 1] = outcome.clearing, outcome.limits
        for r in block.readings:
            self.readings[r.slot, r.member] = r
        for e in outcome.entries:
            self.payments_ucr[e.member] = self.payments_ucr.get(e.member, 0) + e.payment_ucr
            if e.kind in ("settled", "missing", "gap"):
                self.entries.setdefault((e.slot, e.member), []).append(e)
        out = [self.slot(s) for s in range(self.told + 1, slot)]
        self.told = max(self.told, slot - 1)
        return out

    def slot(self, k):
        """SlotData of slot k as far as it is known."""
        g, clearing = self.genesis, self.clearings.get(k)
        homes = []
        for m, battery in enumerate(self.battery_mwh(k)):
            r = self.readings.get((k, m))
            bought, sold = clearing.fills.get(m, (0, 0)) if clearing else (0, 0)
            homes.append(HomeSlot(r.interval_import_mwh, r.interval_export_mwh, r.interval_generation_mwh, bought, sold, battery)
                         if r else HomeSlot(bought_mwh=bought, sold_mwh=sold, battery_mwh=battery, missing=True))
        net = sum(h.import_mwh - h.export_mwh for h in homes)
        limit_in, limit_out = self.limits.get(k, (g.import_limit_mwh, g.export_limit_mwh))
        void = clearing is None and k > 1  # slots 0 and 1 begin before the first order could be cleared
        return SlotData(k, self.time(g.start_s + k * g.slot_s), clearing.price_ucr_per_kwh if clearing else None, clearing.volume_mwh if clearing else 0,
                        max(net, 0), max(-net, 0), limit_in, limit_out, homes, void)

    def time(self, unix_s):
        """ISO 8601, local."""
        return datetime.datetime.fromtimestamp(unix_s, self.zone).isoformat()

    # -- one record on its walk

    def largest_sale(self):
        """(slot, member) of the largest sale that was delivered; None if nothing was."""
        def delivered(k, m):
            return min(self.clearings[k].fills.get(m, (0, 0))[1], self.readings[k, m].interval_export_mwh)

        there = [(k, m) for k, m in self.readings if k in self.clearings and k + 1 in self.blocks and k - 1 in self.blocks]
        k, m = max(there, key=lambda at: (delivered(*at), at), default=(0, 0))
        return (k, m) if there and delivered(k, m) else None

    def walk(self, samples):
        """WalkStep for each stage of the largest sale that was delivered. `samples(slot, member)`: bytes of a window, or b""."""
        if not self.largest_sale():
            return []
        k, m = self.largest_sale()
        sold = self.clearings[k].fills[m][1]
        r, clearing, block = self.readings[k, m], self.clearings[k], self.blocks[k + 1]
        order = next(o for o in self.blocks[k - 1].orders if o.member == m)
        entry = self.entries[k, m][0]
        window = samples(k, m)
        counts = [int.from_bytes(window[i:i + 2], "little", signed=True) for i in range(0, len(window), 2)]
        head = block.header
        return [
            WalkStep("sample", "The meter samples voltage and currents 8000 times a second: raw counts of its 12-bit converter, "
                     "interleaved. These are the first of one window.", [("first counts", ", ".join(map(str, counts[:9])))], window),
            WalkStep("reading", "Whole mains cycles are multiplied and summed into energy; the registers never go back. "
                     "This is the slot as the meter states it.",
                     [("slot", str(k)), ("taken from the street", _mwh(r.interval_import_mwh)), ("given to the street", _mwh(r.interval_export_mwh)),
                      ("generated", _mwh(r.interval_generation_mwh)), ("uncertainty", _mwh(r.uncertainty_mwh))], r.raw),
            WalkStep("signed reading", "The meter signs it (Ed25519) together with the hash of its previous reading, so none can be "
                     "changed, left out or put in between.", [("previous", r.previous.hex()[:16] + "…"), ("sequence", str(r.seq))], r.raw + r.signature),
            WalkStep("order", "Half an hour earlier it had offered what it expected to have left: a price curve, sealed until "
                     "everybody's was in.", [("sells", _curve(order.sell) or "nothing"), ("buys", _curve(order.buy) or "nothing")], order.raw),
            WalkStep("clearing", "Every meter computes the same price from the same orders.",
                     [("price", _price(clearing.price_ucr_per_kwh)), ("traded in the street", _mwh(clearing.volume_mwh)),
                      ("sold by this house", _mwh(sold))], head_bytes(self.blocks[k - 1].header)),
            WalkStep("settlement", "What was delivered is paid at once; what was short or over is settled at the tariff.",
                     [("for the trade", _money(entry.trade_ucr)), ("network fee and losses", _money(entry.fee_ucr + entry.loss_ucr)),
                      ("for the difference", _money(entry.imbalance_ucr))]),
            WalkStep("header", "A quorum of the meters signs one header of 146 bytes. It carries the roots of everything above, "
                     "and it is all that a meter has to keep.",
                     [("slot", str(head.slot)), ("proposed by", f"member {head.proposer}"),
                      ("signed by", f"{len(block.certificate.signatures)} of {self.genesis.n} (a quorum)")], head.raw)]


def head_bytes(header):
    """Price and volume as they stand in the header."""
    return header.raw[138:146]


def _mwh(energy):
    return f"{energy / _KWH:.3f} kWh"


def _price(ucr):
    return f"{ucr / 10_000:.2f} ct/kWh"


def _money(ucr):
    return f"{ucr / 1e6:+.4f} €"


def _curve(steps):
    return ", ".join(f"{_mwh(e)} at {_price(p)}" for p, e in steps)


def run_data(folder, story, street, profiles, result=None, battery_start=None, samples=lambda k, m: b"", witness=None):
    """RunData of a finished run in `folder`; `result`: of verify_run, `witness`: of the archive beside it."""
    facts = json.loads((folder / "run.json").read_text())
    slots = [story.slot(k) for k in range(facts["slots"])]
    alone = baseline(street, profiles, facts["slots"])
    homes = []
    for m, home in enumerate(street.homes):
        account, without = story.books.accounts[m], alone[home.name]
        paid = story.payments_ucr.get(m, 0) - account.balance_ucr
        stored = facts["homes"][m]["stored_mwh"]
        homes.append(HomeData(
            home.name, home.kind, home.pv_kwp, home.battery.capacity_kwh if home.battery else 0, bool(home.ev), account.balance_ucr,
            account.green_mwh, paid, utility_bill(without.slots, street.tariff), [HomeSlot.alone(e) for e in without.slots],
            stored - facts["homes"][m]["stored_at_start_mwh"], without.battery_change_mwh))
    rejects = {}
    for state in facts["states"].values():
        for code, n in state.get("counts", {}).items():
            if code not in _EVENTS:
                rejects[code] = rejects.get(code, 0) + n
    return RunData(facts["street"], facts["slot_minutes"], story.genesis.retail, story.genesis.feed_in, story.genesis.local_fee, homes, slots,
                   story.walk(samples), Verdict(result.ok, _checks(result.counts), result.faults) if result else None,
                   Counters(facts["messages"], rejects, facts["message_bytes"]), facts["played_s"], facts["note"],
                   witness, [("genesis.bin", "the signed genesis: members, tariff, limits"),
                    ("records/", "every final block with its certificate, and each meter's own headers"),
                    ("run.json", "facts of the run: devices, messages, heap")]
                   + [("archive.db", "what the archive kept: every block, searchable, for prosumer archive and prosumer receipt")] * bool(witness))


def _checks(counts):
    """What was looked at, not what was traded: the page adds these up."""
    return {k: n for k, n in counts.items() if k in ("blocks", "signatures", "certificates", "readings", "commits", "orders", "settlements", "ring_headers")}


_EVENTS = ("pv-curtailed", "over-import", "timeout", "caught-up", "caught-up-unproven", "flood", "old-block")  # counted by the meters, but nothing was refused


def utility_bill(slots, tariff):
    """What a home pays without the market: the net of each slot at the utility's tariff, rounded as the settlement does."""
    total = 0
    for e in slots:
        net = e.import_mwh - e.export_mwh
        total += -(-net * tariff.retail_ucr_per_kwh // _KWH) if net > 0 else net * tariff.feed_in_ucr_per_kwh // _KWH
    return total
