"""What forecast, bidding and flexibility are worth: a street played at market level, with the market and without it.

    python tests/bench/bench_bidding.py [--days 7] [--seeds 1 2 3] [--season summer winter] [--demo] [--json FILE]

The firmware's own modules play (forecast, bidding, flexibility, clearing, settlement) in the houses of the demo street over
days of bidding_days.py. What a meter would not know yet is withheld: at the gate of slot k it has its readings up to k-1, nine
tenths of k, the clearing of k and a weather forecast that errs. "Without" is what the design defines: the same devices,
greedy self-consumption, the utility's tariff. "Possible" is what the street would save as one house with perfect foresight (a
linear program over the whole run). --oracle tells the meters their next slot exactly: the rest is what forecasting costs.
Bench code, so floats are fine here; none reach an order.
"""
import argparse
import json
import statistics
import sys
import types
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "firmware"), str(ROOT / "host_tools"), str(Path(__file__).resolve().parent)]
warnings.simplefilter("ignore")
sys.modules.setdefault("micropython", types.SimpleNamespace(const=lambda value: value))

import bidding_days
from prosumer.market import bidding, clearing, flexibility, forecast, settlement
from prosumer.market.book import check_curve
from prosumer.market.statement import make_tariff
from prosumer_tools.profiles import demo
from prosumer_tools.unixport import run_firmware

GATE = 0.9                      # part of the running slot that is known when the order is committed
VOLTS = 230

# --- one house --------------------------------------------------------------------------------------------------

class House:
    """A home's plant (what happens) and its meter (what it knows and decides)."""

    def __init__(self, home, load, pv, said, slot_s, oracle=False):
        self.name, self.home, self.slot_s = home.name, home, slot_s
        self.load = np.rint(load * 1000).astype(int).tolist()
        self.pv = np.rint(pv * 1000).astype(int).tolist() if pv is not None else None
        self.said, self.oracle = said, oracle
        self.forecast = forecast.Forecast(86400 // slot_s)
        self.ordered = None
        self.battery = self.ev = None
        self.stored = self.need = 0
        if home.battery:
            one_way = round(1000 * (home.battery.efficiency_percent / 100) ** 0.5)
            self.battery = flexibility.Battery(round(home.battery.capacity_kwh * 1e6), round(home.battery.power_kw * 1e6), one_way)
            self.stored = self.battery.capacity_mwh * home.battery.initial_percent // 100
        if home.ev:
            self.ev = flexibility.Ev(round(home.ev.power_kw * 1e6))
        self.max_mwh = home.fuse_a * VOLTS * 1000 * slot_s // 3600
        self.positions = {}          # slot: net bought, mWh
        self.seen = {}               # slot: (consumption, generation) without the flexible devices
        self.minute = slot_s // 60
        self.unmet = 0

    def energy(self, slot, until=1.0):
        """(consumption, generation) of a slot, or of its beginning scaled to the whole."""
        first = slot * self.minute
        count = max(1, int(self.minute * until))
        def of(series):
            return sum(series[first:first + count]) * self.slot_s // 3600 // count
        return of(self.load), of(self.pv) if self.pv else 0

    def irradiance(self, slot):
        return forecast.hourly(self.said, 1800, slot * self.slot_s + self.slot_s // 2)

    def plugged_slots(self, slot):
        """Slots to the deadline, with this one; 0 when the car is away."""
        if not self.ev:
            return 0
        start, end = self.home.ev.window_s()
        at = slot * self.slot_s % 86400
        return (end - at) // self.slot_s if start <= at < end else 0

    def learn(self, slot):
        self.forecast.observe(slot, *self.energy(slot), self.irradiance(slot))

    def prices(self, slot, tariff):
        per_day = 86400 // self.slot_s
        return self.forecast.prices(slot, per_day, tariff.retail_ucr_per_kwh, tariff.feed_in_ucr_per_kwh,
                                    [self.irradiance(s) for s in range(slot, slot + per_day)])

    def order(self, slot, tariff, prices_now, local):
        """The order for slot + 2, made at the gate of `slot` (which is delivering)."""
        ahead = slot + 2
        expected = bidding.position_at(*self.ordered, prices_now) if self.ordered else 0    # slot + 1 clears with this commit
        run = (slot, *self.energy(slot, GATE), self.irradiance(slot))
        use, sun, deviation = self.forecast.predict(ahead, run, self.irradiance(ahead))
        if self.oracle:
            use, sun = self.energy(ahead)
            deviation = 0
        retail, feed_in = tariff.retail_ucr_per_kwh, tariff.feed_in_ucr_per_kwh
        prices = self.prices(ahead + 1, tariff)
        flex, can_have = [], 0
        if self.pv:
            can_have = min(sun + 3 * deviation, round(self.home.pv_kwp * 1e6) * self.slot_s // 3600) if sun else 0
        if self.battery:
            next_use, next_sun, _ = self.forecast.predict(slot + 1, run, self.irradiance(slot + 1))
            stored = self.battery.after(self.stored, expected - next_use + next_sun, self.slot_s)
            outlook = self.forecast.ahead(ahead + 1, 86400 // self.slot_s)
            steps = self.battery.steps(stored, outlook, self.slot_s, retail, feed_in, prices)
            flex += steps
            can_have += sum([give for _, _, give in steps])
        left = self.plugged_slots(ahead)
        if left:
            need = self.need if self.plugged_slots(slot) else round(self.home.ev.need_kwh * 1e6)
            for between in (slot + 1,) if self.plugged_slots(slot + 1) else ():
                need -= self.ev_plan(between, need, expected)
            flex += self.ev.steps(need, left, self.slot_s, retail, feed_in, prices)
        self.ordered = bidding.make_order(retail, feed_in, use - sun, deviation, flex, self.max_mwh, min(can_have, self.max_mwh),
                                          local, self.forecast.tails)
        return self.ordered

    def ev_plan(self, slot, need, expected):
        """What the car will take in the slot between: what it is expected to have bought, as far as it can."""
        use, sun, _ = self.forecast.predict(slot)
        most = self.ev.power_mw * self.slot_s // 3600
        return min(need, most, max(0, expected - use + sun))

    def deliver(self, slot, market, tariff):
        """Play a slot minute by minute; returns net energy in mWh (import positive)."""
        target, done = self.positions.get(slot, 0) if market else 0, 0
        left_slots = self.plugged_slots(slot)
        if self.ev:
            if left_slots and not self.plugged_slots(slot - 1):
                self.need = round(self.home.ev.need_kwh * 1e6)
            if not left_slots:
                self.unmet += self.need
                self.need = 0
        must_mw = 0
        if left_slots and self.need:
            if market:
                steps = self.ev.steps(self.need, left_slots, self.slot_s, tariff.retail_ucr_per_kwh, tariff.feed_in_ucr_per_kwh,
                                      self.prices(slot + 1, tariff))
                must_mw = flexibility.must_mw(steps, tariff.retail_ucr_per_kwh, self.slot_s)
            else:
                must_mw = self.ev.power_mw
        for m in range(self.minute):
            at = slot * self.minute + m
            house = self.load[at] - (self.pv[at] if self.pv else 0)
            goal = flexibility.target_mw(target, done, self.slot_s - 60 * m)
            battery, ev = flexibility.dispatch(house, goal, self.battery, self.stored, self.ev if self.need else None,
                                               must_mw, self.need)
            self.need -= ev // 60
            if battery:
                self.stored += battery * self.battery.efficiency // 60_000 if battery > 0 else -(-battery * 1000 // (60 * self.battery.efficiency))
            done += (house + battery + ev) // 60
        return done


# --- the play ---------------------------------------------------------------------------------------------------

def play(data, street, slot_s, market, options):
    load, pv, said = data
    tariff = make_tariff(street.tariff.retail_ucr_per_kwh, street.tariff.feed_in_ucr_per_kwh, local_fee=street.tariff.local_fee_ucr_per_kwh)
    local = sum(settlement.local_charges(tariff, tariff.feed_in_ucr_per_kwh)[0])
    houses = [House(h, load[h.name], pv.get(h.name), said, slot_s, options.oracle) for h in street.homes]
    slots = len(houses[0].load) * 60 // slot_s
    envelope = tuple(round(kw * 1e6) * slot_s // 3600 for kw in (street.feeder.import_limit_kw, street.feeder.export_limit_kw))
    now = tariff.retail_ucr_per_kwh
    cleared = {}
    net, money, volume = np.zeros((slots, len(houses)), int), np.zeros((slots, len(houses)), int), 0
    traded_price, feeder = [], 0
    for slot in range(slots):
        for i, h in enumerate(houses):
            net[slot, i] = h.deliver(slot, market, tariff)
        result = cleared.pop(slot, None)
        for i, h in enumerate(houses):
            bought, sold = result.fills.get(i, (0, 0)) if result else (0, 0)
            n = int(net[slot, i])
            entry = settlement.settle(tariff, result.price_ucr_per_kwh if result else tariff.retail_ucr_per_kwh, bought, sold, max(n, 0), max(-n, 0))
            money[slot, i] = entry.member_ucr
            feeder += entry.feeder_ucr if market else 0
            h.positions.pop(slot, None)
        if market and result:
            feeder -= settlement.pays(tariff.retail_ucr_per_kwh, result.import_mwh) - settlement.gets(tariff.feed_in_ucr_per_kwh, result.export_mwh)
        if market and slot + 2 < slots:
            orders = []
            for i, h in enumerate(houses):
                buy, sell = h.order(slot, tariff, now, local)
                check_curve(buy, sell, tariff)
                orders.append((i, buy, sell))
            result = clearing.clear(slot + 2, tariff, envelope, orders)
            cleared[slot + 2] = result
            traded_price.append(result.price_ucr_per_kwh)
            volume += result.volume_mwh
            for i, h in enumerate(houses):
                bought, sold = result.fills[i]
                h.positions[slot + 2] = bought - sold
        if slot + 1 in cleared:         # block `slot` is final: the clearing of the next slot is known
            now = cleared[slot + 1].price_ucr_per_kwh
            for h in houses:
                h.forecast.observe_price(slot + 1, now)
        for h in houses:
            h.learn(slot)
    return {"homes": [h.name for h in houses], "net": net, "money": money.sum(axis=0), "feeder": feeder, "volume": volume,
            "stored": [h.stored for h in houses], "unmet": [h.unmet for h in houses], "prices": traded_price}


def best(data, street, slot_s):
    """The least the street can pay as one house with perfect foresight, ucr (minute power averaged over slots)."""
    from scipy.optimize import linprog
    from scipy.sparse import lil_matrix

    load, pv, _ = data
    tariff = street.tariff
    per = slot_s // 60
    net = sum(load.values()) - sum(pv.values())
    net = net.reshape(-1, per).mean(axis=1) * slot_s / 3.6e6        # kWh
    n = len(net)
    battery = next(h.battery for h in street.homes if h.battery)
    car = next(h.ev for h in street.homes if h.ev)
    one_way, most = (battery.efficiency_percent / 100) ** 0.5, battery.power_kw * slot_s / 3600
    start, end = car.window_s()
    at = np.arange(n) * slot_s % 86400
    plugged = (at >= start) & (at + slot_s <= end)
    # variables: import, export, charge, discharge, car (per slot), stored (after slot)
    cost = np.concatenate([np.full(n, tariff.retail_ucr_per_kwh), np.full(n, -tariff.feed_in_ucr_per_kwh), np.zeros(4 * n)])
    days = n * slot_s // 86400
    a, b = lil_matrix((2 * n + days, 6 * n)), np.zeros(2 * n + days)
    for t in range(n):
        a[t, t], a[t, n + t], a[t, 2 * n + t], a[t, 3 * n + t], a[t, 4 * n + t] = 1, -1, -1, 1, -1
        b[t] = net[t]
        a[n + t, 5 * n + t], a[n + t, 2 * n + t], a[n + t, 3 * n + t] = 1, -one_way, 1 / one_way
        if t:
            a[n + t, 5 * n + t - 1] = -1
        else:
            b[n + t] = battery.capacity_kwh * battery.initial_percent / 100
    for d in range(days):
        of_day = np.flatnonzero(np.arange(n) * slot_s // 86400 == d)
        a[2 * n + d, 4 * n + of_day] = 1
        b[2 * n + d] = car.need_kwh
    car_most = car.power_kw * slot_s / 3600
    bounds = [(0, None)] * (2 * n) + [(0, most)] * (2 * n) + [(0, car_most if p else 0) for p in plugged] + [(0, battery.capacity_kwh)] * n
    return linprog(cost, A_eq=a.tocsr(), b_eq=b, bounds=bounds, method="highs").fun


def compare(data, street, options):
    """What the market changed for each home and for the street, in EUR over the run."""
    slot_s = options.slot_minutes * 60
    without, played = play(data, street, slot_s, False, options), play(data, street, slot_s, True, options)
    tariff = street.tariff
    kwh_left = (np.array(played["stored"]) - np.array(without["stored"])) / 1e6
    left = kwh_left * (tariff.retail_ucr_per_kwh + tariff.feed_in_ucr_per_kwh) / 2 / 1e6     # what a battery still holds
    gains = (played["money"] - without["money"]) / 1e6 + left
    bill = -without["money"] / 1e6
    return {"homes": without["homes"], "bill_without": bill.tolist(), "gains": gains.tolist(), "without": float(bill.sum()),
            "members": float(gains.sum()), "feeder": played["feeder"] / 1e6,
            "as_one": float(bill.sum() - utility(played["net"], tariff) + left.sum()),
            "possible": float(bill.sum()) - best(data, street, slot_s) / 1e6,
            "volume_kwh": played["volume"] / 1e6, "price_mean": statistics.mean(played["prices"]), "unmet_mwh": sum(played["unmet"])}


def utility(net, tariff):
    """What the utility gets, EUR, when all homes of a slot are netted before it sees them."""
    total = net.sum(axis=1) / 1e6
    return float(np.where(total > 0, total * tariff.retail_ucr_per_kwh, total * tariff.feed_in_ucr_per_kwh).sum() / 1e6)


def show(title, results):
    """One table over several runs: means, and for each home also its worst run."""
    def mean(of):
        return statistics.mean([of(r) for r in results])
    print(f"{title}: {len(results)} runs, EUR a run\n{'home':>10}{'without':>10}{'with':>10}{'gain':>8}{'worst run':>11}")
    for i, home in enumerate(results[0]["homes"]):
        bill, gain = mean(lambda r, i=i: r["bill_without"][i]), mean(lambda r, i=i: r["gains"][i])
        print(f"{home:>10}{bill:>10.2f}{bill - gain:>10.2f}{gain:>+8.2f}{min(r['gains'][i] for r in results):>+11.2f}")
    without, members, possible = mean(lambda r: r["without"]), mean(lambda r: r["members"]), mean(lambda r: r["possible"])
    print(f"{'street':>10}{without:>10.2f}{without - members:>10.2f}{members:>+8.2f}{min(r['members'] for r in results):>+11.2f}")
    feeder, as_one = mean(lambda r: r["feeder"]), mean(lambda r: r["as_one"])
    losses = [g for r in results for g in r["gains"] if g < 0]
    print(f"members keep {members / possible:.0%} of the possible {possible:.2f}, with the feeder account (+{feeder:.2f}) "
          f"{(members + feeder) / possible:.0%}; what flowed was worth {as_one / possible:.0%}, the rest is imbalance that neighbours\n"
          f"cancelled on the wire but each settled alone; worse off in {len(losses)} of {len(results) * len(results[0]['homes'])} "
          f"home-runs, by {-min(losses, default=0):.2f} at most; {mean(lambda r: r['volume_kwh']):.0f} kWh traded; "
          f"car short of {max(r['unmet_mwh'] for r in results) / 1e6:.6f} kWh at most\n")


COST = """
import gc, json, time
gc.collect(); start = gc.mem_alloc()
from prosumer.market import bidding, flexibility, forecast
gc.collect(); code = gc.mem_alloc() - start
f, b, e = forecast.Forecast(96), flexibility.Battery(10000000, 5000000), flexibility.Ev(7400000)
for s in range(288):
    light = max(0, 900 - abs(s % 96 - 48) * 40)
    f.predict(s + 2, (s, 90000, light * 800, light), light)
    f.observe(s, 90000 + s * 7919 % 50000, light * 800, light)
    f.observe_price(s, 250000 - light * 200)
gc.collect(); data = gc.mem_alloc() - start - code
times = []
for i in range(31):
    gc.collect(); before = gc.mem_alloc(); t = time.ticks_us()
    use, sun, deviation = f.predict(330, (328, 90000, 400000, 500), 480)
    prices = f.prices(331, 96, 250000, 60000)
    flex = b.steps(4000000, f.ahead(331, 96), 900, 250000, 60000, prices) + e.steps(9000000, 30, 900, 250000, 60000, prices)
    order = bidding.make_order(250000, 60000, use - sun, deviation, flex, 3000000, 2000000, 20000, f.tails)
    times.append(time.ticks_diff(time.ticks_us(), t)); garbage = gc.mem_alloc() - before
print(json.dumps({"code_bytes": code, "data_bytes": data, "order_us": sorted(times)[15], "order_allocated_bytes": garbage,
                  "state_bytes": len(f.dump())}))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--season", choices=bidding_days.FIRST_DAY, nargs="+", default=["summer", "winter"])
    parser.add_argument("--demo", action="store_true", help="play the demo's single day, whose meters have no history")
    parser.add_argument("--slot-minutes", type=int, default=15)
    parser.add_argument("--oracle", action="store_true", help="meters know their next slot exactly")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    figures = {"runs": {}, "cost": json.loads(run_firmware(COST))}
    for name in ("demo day",) if options.demo else options.season:
        results = []
        for seed in options.seeds:
            data = bidding_days.demo_day(seed) if options.demo else bidding_days.days_of(name, options.days, seed)
            results.append(compare(data, demo.demo_street(seed), options))
        show(name if options.demo else f"{name}, {options.days} days", results)
        figures["runs"][name] = results
    cost = figures["cost"]
    print(f"on the Unix port: {cost['code_bytes']} bytes of heap for the code, {cost['data_bytes']} for a house with battery and car; "
          f"an order takes {cost['order_us'] / 1e3:.2f} ms and {cost['order_allocated_bytes']} bytes for a moment; "
          f"{cost['state_bytes']} bytes in flash")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
