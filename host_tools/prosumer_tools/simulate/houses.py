"""Runs on the MicroPython Unix port: some homes of the street, what happens in them and what their meters decide.

The firmware's own Trader makes the orders, its dispatch and guard move battery, car and inverter each minute from what was
measured the minute before, as on a meter. Around them stand a plant (integer mW and mWh) and, beside it, the same plant without
the market: greedy self-consumption, the car at full power from the moment it is plugged in. Nothing is written to flash.

First line in: {"genesis", "utc_offset_s", "homes": […]}; then a line a slot: [slot, price or null, fills, limits, weather or null].
Out: a row per home, see `House.play`.
"""
import json
import sys
from array import array

from prosumer import durable
from prosumer.identity.genesis import Genesis
from prosumer.market import flexibility
from prosumer.market.envelope import allowance, guard
from prosumer.market.trader import Trader, Weather
from prosumer.records import Order

durable.save = lambda path, *pieces: None  # a simulated meter loses no power


class Plant:
    """What can move in a home: a battery's charge and a car's need."""

    def __init__(self, spec, battery, ev, utc_s):
        self.battery, self.ev, self.utc_s = battery, ev, utc_s
        self.stored = spec["stored_mwh"]
        self.spec = spec
        self.need = self.deadline_s = self.short = 0
        self.plugged = False

    def tick(self, second):
        """Plug the car in or out."""
        if not self.ev:
            return
        local = (second + self.utc_s) % 86400
        plugged = self.spec["from_s"] <= local < self.spec["until_s"]
        if plugged and not self.plugged:
            self.need, self.deadline_s = self.spec["need_mwh"], second - local + self.spec["until_s"]
        elif self.plugged and not plugged:
            self.short += self.need
            self.need = 0
        self.plugged = plugged

    def move(self, battery_mw, ev_mw):
        """Set both for a minute; what they really take."""
        if self.battery:
            give, take = self.battery.limits_mw(self.stored, 60)
            battery_mw = max(-give, min(battery_mw, take))
            efficiency = self.battery.efficiency
            self.stored += battery_mw * efficiency // 60000 if battery_mw > 0 else -(-battery_mw * 1000 // (60 * efficiency))
        if self.ev:
            ev_mw = min(ev_mw, self.ev.power_mw, self.need * 60) if self.plugged else 0
            self.need -= ev_mw // 60
        return battery_mw if self.battery else 0, ev_mw if self.ev else 0

    def seen(self):
        return (self.stored, self.battery.capacity_mwh if self.battery else 0, int(self.plugged), self.need, self.deadline_s, 1)


class House:
    def __init__(self, spec, genesis, utc_s):
        self.me, self.genesis = spec["member"], genesis
        self.trader = Trader(genesis, self.me, spec["devices"], "/nowhere/", None)
        t = self.trader
        self.plant, self.alone = Plant(spec, t.battery, t.ev, utc_s), Plant(spec, t.battery, t.ev, utc_s)
        self.minutes = genesis.slot_s // 60
        commit_s = genesis.slot_s - max(20, genesis.slot_s // 10) - max(5, genesis.slot_s // 60)
        self.gate = max(1, commit_s // 60)      # whole minutes known when the order is made, as in the agent
        self.load, self.pv = array("i", [0] * self.minutes), array("i", [0] * self.minutes)
        self.files = [(open(spec["load"], "rb"), self.load)]
        if spec["pv"]:
            self.files.append((open(spec["pv"], "rb"), self.pv))
        self.moves = bool(t.battery or t.ev)
        self.last = (0, 0, 0, 0)  # load, pv, battery, ev of the minute before, as measured

    def play(self, slot, price, fills, limits):
        """[member, net, generation, net alone, generation alone, into the battery, the same alone, stored, car short, buy, sell]; mWh."""
        t = self.trader
        if price is not None:
            t.price_was(slot, price)
        for file, into in self.files:
            file.readinto(into)
        bought, sold = fills.get(self.me, (0, 0))
        may_import, may_export = allowance(self.genesis, self.me, limits, fills)
        usual = may_export * 3600 // self.genesis.slot_s
        if self.moves or max(self.pv) > usual + min(min(self.load), self.last[0]):
            flows, order = self._minutes(slot, bought - sold, may_import, may_export)
        else:       # nothing moves and the guard cannot bite: the sums are the same
            net = (sum(self.load) - sum(self.pv)) // 60
            flows, order = (net, sum(self.pv) // 60, 0), self._order(slot, self.pv)
            self.last = (self.load[-1], self.pv[-1], 0, 0)
        alone = self._alone(slot) if self.moves else ((sum(self.load) - sum(self.pv)) // 60, sum(self.pv) // 60, 0)
        t.observe(slot, sum(self.load) // 60, flows[1])
        buy, sell = order or ((), ())
        return [self.me, flows[0], flows[1], alone[0], alone[1], flows[2], alone[2], self.plant.stored, self.plant.short, buy, sell]

    def _order(self, slot, pv):
        """The agent's commit: sealed two slots ahead, from the part of the slot that is known."""
        known = (sum(self.load[:self.gate]) // 60, sum(pv[:self.gate]) // 60)
        t = self.trader
        curve = t.make((slot, known[0] * self.minutes // self.gate, known[1] * self.minutes // self.gate), self.plant.seen())
        t.sealed = {s: o for s, o in t.sealed.items() if s > slot}
        if curve:
            t.sealed[slot + 2] = Order(self.me, slot + 2, bytes(16), curve[0], curve[1])
        return curve

    def _minutes(self, slot, position, may_import, may_export):
        """The agent's control each minute. ((net, generation, into the battery), order)."""
        t, plant, g = self.trader, self.plant, self.genesis
        start, length = g.start_s + slot * g.slot_s, g.slot_s
        done = made = stored = 0   # mW minutes
        order = None
        pv = array("i", self.pv)
        for m in range(self.minutes):
            plant.tick(start + 60 * m)
            if m == self.gate:
                order = self._order(slot, pv)
            left = length - 60 * m
            seen = plant.seen()
            load, sun = self.last[0], self.last[1]
            ev = t.ev if plant.plugged else None
            done_mwh = done // 60
            must = t.ev_must_mw(seen, slot) if plant.need else 0
            battery_mw, ev_mw = flexibility.dispatch(load - sun, flexibility.target_mw(position, done_mwh, left), t.battery, seen[0], ev,
                                                     must, seen[3])
            give, take = t.battery.limits_mw(seen[0], 60) if t.battery else (0, 0)
            ev_mw, battery_mw, most, _ = guard(
                flexibility.target_mw(may_import, done_mwh, left), flexibility.target_mw(may_export, -done_mwh, left), load, sun, ev_mw,
                battery_mw, ev.power_mw if ev and seen[3] else 0, take, give)
            pv[m] = min(self.pv[m], most)
            battery_mw, ev_mw = plant.move(battery_mw, ev_mw)
            done += self.load[m] - pv[m] + battery_mw + ev_mw
            made += pv[m]
            stored += battery_mw
            self.last = (self.load[m], pv[m], battery_mw, ev_mw)
        if self.gate >= self.minutes:
            order = self._order(slot, pv)
        return (done // 60, made // 60, stored // 60), order

    def _alone(self, slot):
        """The same minutes without a market."""
        plant, start = self.alone, self.genesis.start_s + slot * self.genesis.slot_s
        done = stored = 0
        for m in range(self.minutes):
            plant.tick(start + 60 * m)
            _, ev_mw = plant.move(0, plant.ev.power_mw) if plant.ev else (0, 0)
            house = self.load[m] - self.pv[m] + ev_mw
            battery_mw = 0
            if plant.battery:
                ev, plant.ev = plant.ev, None
                battery_mw, _ = plant.move(-house, 0)
                plant.ev = ev
            done += house + battery_mw
            stored += battery_mw
        return done // 60, sum(self.pv) // 60, stored // 60


def main():
    setup = json.loads(sys.stdin.readline())
    genesis = Genesis(bytes.fromhex(setup["genesis"]))
    houses = [House(spec, genesis, setup["utc_offset_s"]) for spec in setup["homes"]]
    weather = Weather()
    for house in houses:
        house.trader.weather = weather
    print("ready")
    for line in sys.stdin:
        slot, price, fills, limits, said = json.loads(line)
        if said:
            weather.take(said)
        fills = {m: (b, s) for m, b, s in fills}
        print(json.dumps([house.play(slot, price, fills, limits) for house in houses]))


main()
