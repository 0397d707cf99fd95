"""What forecast, bidding and flexibility are worth: a street played at market level, with the market and without it.

    python tests/bench/bench_bidding.py [--days 7] [--seeds 1 2 3] [--season summer|winter] [--slot-minutes 15] [--json FILE]

The firmware's own modules play (forecast, bidding, flexibility, clearing, settlement) on the demo street's houses: a
Richardson load that keeps its appliances over the days, roofs under the clouds of measured days. Everything a meter would
not know yet is withheld. "Without" is what the design defines: the same devices, greedy self-consumption, the
utility's tariff. `best` is the least the street could pay with perfect foresight (a linear program over the whole run), so
`reached` says how much of the possible saving the market finds. Bench code, so floats are fine here; none reach an order.
"""
import argparse
import json
import os
import random
import statistics
import sys
import types
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "firmware"), str(ROOT / "host_tools")]
warnings.simplefilter("ignore")
sys.modules.setdefault("micropython", types.SimpleNamespace(const=lambda value: value))

from prosumer.market import bidding, clearing, flexibility, forecast, settlement  # noqa: E402
from prosumer.market.book import check_curve, make_tariff  # noqa: E402
from prosumer_tools.profiles import demo  # noqa: E402
from prosumer_tools.profiles.shop import shop_w  # noqa: E402

FIRST_DAY = {"summer": "2026-06-01", "winter": "2026-01-12"}
GATE = 0.9                      # part of the running slot that is known when the order is committed
VOLTS = 230
ORACLE = bool(os.environ.get("ORACLE"))


# --- the street's data ------------------------------------------------------------------------------------------

def street_days(season, days, seed):
    """({home: W per minute}, {home: W per minute}, hourly irradiance forecast): what happens, and what was forecast."""
    import pandas as pd
    from prosumer_tools.profiles import sun, weather

    measured = cloud_days()
    order = np.random.default_rng([seed, 7]).permutation(len(measured))
    load, pv, said = {}, {}, []
    pick = []
    for day in range(days):
        date = pd.Timestamp(FIRST_DAY[season]) + pd.Timedelta(days=day)
        times = sun.minutes_of(date.strftime("%Y-%m-%d"), demo.ZONE)
        air = weather.air_c(np.arange(1440)) - (15 if season == "winter" else 0)
        sky = sun.Sky(demo.PLACE, times, air)
        at, index = measured[order[day % len(order)]]
        sky.index = np.nan_to_num(np.interp(sun.daylight(sky._sun), at, index), nan=1.0)
        sky.ghi = sky.clear_ghi * sky.index
        sky._parts = sun.irradiance.erbs(sky.ghi, sky._sun["zenith"].to_numpy(), times.dayofyear)
        for home in demo.demo_street(seed).homes:
            roof = demo._HOUSES.get(home.name, (0, None))[1]
            if roof:
                pv.setdefault(home.name, []).append(sky.roof_w(home.pv_kwp, *roof))
        pick.append((times[0].isoweekday(), times[0].dayofyear, sky.ghi))
        said += [h[0] for h in weather.forecast(0, sky.clear_ghi, sky.index, seed * 1000 + day).hours]
    for i, home in enumerate(demo.demo_street(seed).homes):
        if home.kind == "shop":
            load[home.name] = np.concatenate([shop_w(30, seed * 100 + day, d[0]) for day, d in enumerate(pick)])
        else:
            load[home.name] = household_days(demo._HOUSES[home.name][0], seed * 100 + i, pick)
    return load, {name: np.concatenate(parts) for name, parts in pv.items()}, said


def cloud_days():
    """[(daylight part, cloud index)] of 25 measured days."""
    import pandas as pd
    import pvlib
    from prosumer_tools.profiles import sun

    days = sun._measured_days()
    clear = days.quantile(0.9, axis=1).to_numpy()
    out = []
    for date in days.columns:
        times = pd.date_range(date, periods=96, freq="15min", tz="Etc/GMT+7")
        part = sun.daylight(pvlib.location.Location(**sun._SERF).get_solarposition(times))
        told = ~np.isnan(part) & (clear > sun._LEAST_W)
        out.append((part[told], np.clip(days[date].to_numpy()[told] / clear[told], 0, sun._MAX_INDEX)))
    return out


def household_days(persons, seed, days):
    """Load in W per minute of one household over several days: its appliances stay, its people move."""
    import richardsonpy
    from prosumer_tools.profiles import household
    from richardsonpy.classes import appliance, lighting, occupancy, stochastic_el_load_wrapper

    inputs = os.path.join(os.path.dirname(richardsonpy.__file__), "inputs")
    random.seed(seed)
    np.random.seed(seed)
    appliances = appliance.Appliances(os.path.join(inputs, "Appliances.csv"), prev_heat_dev=True, randomize_appliances=True,
                                      annual_consumption=household._APPLIANCES_PART * household._YEAR_KWH[persons - 1])
    lamps = lighting.load_lighting_profile(filename=os.path.join(inputs, "LightBulbs.csv"), index=seed % 100)
    out = []
    for weekday, day_of_year, ghi in days:
        present = occupancy.Occupancy(persons, initial_day=weekday, nb_days=1).occupancy
        model = stochastic_el_load_wrapper.ElectricityProfile(appliances, lamps)
        out.append(np.asarray(model.power_sim(irradiation=ghi, weekend=weekday > 5, day=day_of_year, occupancy=present)[0], dtype=float))
    return np.concatenate(out)


# --- one house --------------------------------------------------------------------------------------------------

class House:
    """A home's plant (what happens) and its meter (what it knows and decides)."""

    def __init__(self, home, load, pv, said, slot_s, start=None):
        self.name, self.home, self.slot_s = home.name, home, slot_s
        self.load = np.rint(load * 1000).astype(int).tolist()
        self.pv = np.rint(pv * 1000).astype(int).tolist() if pv is not None else None
        self.said = said
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
        return forecast.hourly(self.said, -1800, slot * self.slot_s + self.slot_s // 2)

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
        if ORACLE:
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
            start, _ = self.home.ev.window_s()
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
    tariff = make_tariff(street.tariff.retail_ucr_per_kwh, street.tariff.feed_in_ucr_per_kwh, local_fee=options.fee)
    local = settlement.local_charges(tariff, tariff.feed_in_ucr_per_kwh)[0]
    local = sum(local) if local else 0
    houses = [House(h, load[h.name], pv.get(h.name), said, slot_s) for h in street.homes]
    slots = len(houses[0].load) * 60 // slot_s
    per_day = 86400 // slot_s
    envelope = tuple(round(kw * 1e6) * slot_s // 3600 for kw in (street.feeder.import_limit_kw, street.feeder.export_limit_kw))
    if options.wide:
        envelope = (10**9, 10**9)
    now = tariff.retail_ucr_per_kwh
    cleared = {}
    net, money, volume = np.zeros((slots, len(houses)), int), np.zeros((slots, len(houses)), int), 0
    traded_price, feeder, short, over, errors = [], 0, 0, 0, []
    for slot in range(slots):
        for i, h in enumerate(houses):
            net[slot, i] = h.deliver(slot, market, tariff)
        result = cleared.pop(slot, None)
        for i, h in enumerate(houses):
            bought, sold = result.fills.get(i, (0, 0)) if result else (0, 0)
            n = int(net[slot, i])
            entry = settlement.settle(tariff, result.price_ucr_per_kwh if result else tariff.retail_ucr_per_kwh, bought, sold, max(n, 0), max(-n, 0))
            money[slot, i] = entry.member_ucr
            short, over = short + entry.short_mwh, over + entry.long_mwh
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
                if options.verbose and slot // per_day == options.verbose - 1:
                    print(slot + 2, h.name, buy, sell)
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
            "stored": [h.stored for h in houses], "unmet": [h.unmet for h in houses], "prices": traded_price, "short": short, "over": over,
            "by_slot": money, "tariff": tariff}


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


def compare(season, days, seed, options):
    import dataclasses
    import pickle
    cache = ROOT / "build" / f"bidding-{season}-{days}-{seed}.pickle"
    if cache.exists():
        data = pickle.loads(cache.read_bytes())
    else:
        data = street_days(season, days, seed)
        cache.parent.mkdir(exist_ok=True)
        cache.write_bytes(pickle.dumps(data))
    return compare_data(data, demo.demo_street(seed), season, days, seed, options)


def compare_data(data, street, season, days, seed, options):
    slot_s = options.slot_minutes * 60
    without = play(data, street, slot_s, False, options)
    w = play(data, street, slot_s, True, options)
    tariff = street.tariff
    worth = (tariff.retail_ucr_per_kwh + tariff.feed_in_ucr_per_kwh) // 2    # a kWh left in a battery
    left = [(a - b) / 1e6 * worth for a, b in zip(w["stored"], without["stored"])]
    gains = (w["money"] - without["money"] + np.array(left)) / 1e6
    def utility(net):
        total = net.sum(axis=1)
        return (np.maximum(total, 0) * tariff.retail_ucr_per_kwh - np.maximum(-total, 0) * tariff.feed_in_ucr_per_kwh).sum() / 1e6 / 1e6
    own = {name: -m / 1e6 for name, m in zip(without["homes"], without["money"])}
    apart = -sum(without["money"]) / 1e6
    floor = best(data, street, slot_s) / 1e6
    one = utility(w["net"]) - sum(left) / 1e6       # what the street as a whole now pays the utility
    return {"season": season, "seed": seed, "days": days, "gains": dict(zip(without["homes"], gains.round(3).tolist())), "bill_without": own,
            "without": apart, "members_with": apart - float(gains.sum()), "feeder": w["feeder"] / 1e6, "street_with": one, "best": floor,
            "volume_kwh": w["volume"] / 1e6, "short_kwh": w["short"] / 1e6, "over_kwh": w["over"] / 1e6, "unmet": sum(w["unmet"]),
            "price_mean": statistics.mean(w["prices"]), "prices": w["prices"]}


def show(r):
    print(f"{r['season']} seed {r['seed']}, {r['days']} days: without {r['without']:.2f}, members with {r['members_with']:.2f}, "
          f"feeder account +{r['feeder']:.2f}, street as one {r['street_with']:.2f}, best possible {r['best']:.2f}; members' gain {r['without'] - r['members_with']:.2f} = "
          f"{(r['without'] - r['members_with']) / (r['without'] - r['best']):.0%} of what is possible (with feeder account "
          f"{(r['without'] - r['members_with'] + r['feeder']) / (r['without'] - r['best']):.0%}); volume {r['volume_kwh']:.1f} kWh, short {r['short_kwh']:.1f}, "
          f"over {r['over_kwh']:.1f}, unmet {r['unmet']}")
    print("   " + "  ".join(f"{n} {g:+.2f} ({r['bill_without'][n]:.2f})" for n, g in r["gains"].items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--season", choices=FIRST_DAY, nargs="+", default=["summer"])
    parser.add_argument("--slot-minutes", type=int, default=15)
    parser.add_argument("--fee", type=int, default=20_000)
    parser.add_argument("--wide", action="store_true", help="an envelope that never binds")
    parser.add_argument("--verbose", type=int, default=0, metavar="DAY")
    parser.add_argument("--json")
    options = parser.parse_args()
    results = []
    for season in options.season:
        for seed in options.seeds:
            results.append(compare(season, options.days, seed, options))
            show(results[-1])
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
