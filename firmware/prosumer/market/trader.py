"""Reading → order: what this house wants for the slot after next, sealed now and shown when its commit is final.

Joins forecast, bidding and the flexible devices (each a pure module beside this one) with what the meter knows:
its own history, the weather, the battery's and car's state. An order is on flash before its commit leaves.
"""
from micropython import const

from prosumer import durable
from prosumer.codec import Cursor, list_pieces
from prosumer.errors import Reject
from prosumer.market import bidding, flexibility, settlement
from prosumer.market.forecast import Forecast, hourly
from prosumer.records import Commit, Order

_ENTRIES = const(96)  # of an outlook: a day of slots of 15 minutes and more


class Weather:
    """The newest forecast: hourly irradiance, W/m2, from `start_s` (Unix seconds)."""

    start_s = 0
    irradiance = ()

    def take(self, message):
        """`message`: the JSON object of the weather topic. Reject('bad-weather')."""
        start, values = message.get("start_s"), message.get("irradiance")
        if type(start) is not int or type(values) is not list or len(values) > 96 or \
                not all([type(v) is int and 0 <= v <= 2000 for v in values]):
            raise Reject("bad-weather")
        self.start_s, self.irradiance = start, values

    def at(self, second):
        return hourly(self.irradiance, self.start_s, second)


class Trader:
    def __init__(self, genesis, member, devices, folder, signer):
        """`devices`: {"battery": {capacity_mwh, power_mw, efficiency_permille}, "ev": {power_mw}, "pv": {peak_mw}}, each optional."""
        self.genesis, self.member, self.folder, self.signer = genesis, member, folder, signer
        self.slot_s = genesis.slot_s
        self.per_day = 86400 // genesis.slot_s
        self.forecast = Forecast(self.per_day)
        saved = durable.load(folder + "forecast")
        if saved:
            self.forecast.load(saved)
        self.weather = Weather()
        b, e = devices.get("battery"), devices.get("ev")
        self.battery = flexibility.Battery(b["capacity_mwh"], b["power_mw"], b.get("efficiency_permille", 950)) if b else None
        self.ev = flexibility.Ev(e["power_mw"]) if e else None
        self.peak_mwh = devices.get("pv", {}).get("peak_mw", 0) * genesis.slot_s // 3600
        loss_fee = settlement.local_charges(genesis, genesis.feed_in_ucr_per_kwh)[0]
        self.local = loss_fee[0] + loss_fee[1]
        self.sealed = {}  # slot → Order
        orders = durable.load(folder + "orders")
        if orders:
            cursor = Cursor(orders)
            for order in cursor.records(Order, 8):
                self.sealed[order.slot] = order

    # -- knowledge

    def irradiance(self, slot):
        return self.weather.at(self.genesis.start_s + slot * self.slot_s + self.slot_s // 2)

    def observe(self, slot, consumption_mwh, generation_mwh):
        """One delivered slot, devices left out."""
        self.forecast.observe(slot, max(0, consumption_mwh), max(0, generation_mwh), self.irradiance(slot))
        durable.save(self.folder + "forecast", *self.forecast.pieces())

    def price_was(self, slot, price):
        self.forecast.observe_price(slot, price)

    def price_outlook(self, slot, count, span=1):
        """Expected prices of `count` slots from `slot`, or of every `span`-th."""
        light = [self.irradiance(slot + i * span) for i in range(count)]
        return self.forecast.prices(slot, count, self.genesis.retail_ucr_per_kwh, self.genesis.feed_in_ucr_per_kwh, light, span)

    # -- orders

    def make(self, running, plant):
        """Sealed Order for two slots after `running` = (slot, consumption_mwh, generation_mwh scaled to the whole slot).

        `plant`: (soc_mwh, capacity_mwh, ev_plugged, ev_need_mwh, ev_deadline_s).
        Returns (buy, sell), or None when there is nothing to buy or sell.
        """
        slot, target = running[0], running[0] + 2
        # what the next slot's order will have got: it is cleared at the coming gate, which is too late for this one
        order, position = self.sealed.get(slot + 1), 0
        if order:
            position = bidding.position_at(order.buy, order.sell, self.price_outlook(slot + 1, 1)[0])
        run = running + (self.irradiance(slot),)
        use, sun, deviation = self.forecast.predict(target, run, self.irradiance(target))
        g, flex, can_have = self.genesis, [], 0
        if sun:
            can_have = min(sun + 3 * deviation, self.peak_mwh or sun)
        if self.battery:
            next_use, next_sun, _ = self.forecast.predict(slot + 1, run, self.irradiance(slot + 1))
            stored = self.battery.after(plant[0], position - next_use + next_sun, self.slot_s)
            span = -(-self.per_day // _ENTRIES)
            outlook = self.forecast.ahead(target + 1, self.per_day // span, span)
            prices = self.price_outlook(target + 1, self.per_day // span, span)
            steps = self.battery.steps(stored, outlook, self.slot_s, g.retail_ucr_per_kwh, g.feed_in_ucr_per_kwh, prices, span)
            flex += steps
            can_have += sum([give for _, _, give in steps])
        left = self.slots_left(plant, target)
        if left:
            need = plant[3] - self._planned(slot + 1, position)
            flex += self.ev.steps(need, left, self.slot_s, g.retail_ucr_per_kwh, g.feed_in_ucr_per_kwh,
                                  self.price_outlook(target + 1, min(left, _ENTRIES)))
        fuse = g.fuse_mwh(self.member)
        buy, sell = bidding.make_order(g.retail_ucr_per_kwh, g.feed_in_ucr_per_kwh, use - sun, deviation, flex, fuse,
                                       min(can_have, fuse), self.local, self.forecast.tails)
        return (list(buy), list(sell)) if buy or sell else None

    def slots_left(self, plant, slot):
        """Slots until the car must be ready, `slot` included; 0 without a car, or with it away."""
        if not self.ev or not plant[2]:
            return 0
        return max(0, (plant[4] - self.genesis.start_s) // self.slot_s - slot)

    def _planned(self, slot, position):
        """What the car will take in a slot that is traded already."""
        use, sun, _ = self.forecast.predict(slot)
        return min(self.ev.power_mw * self.slot_s // 3600, max(0, position - use + sun))

    def ev_must_mw(self, plant, slot):
        """Charging power that cannot wait any longer."""
        left = self.slots_left(plant, slot)
        if not left:
            return 0
        g = self.genesis
        steps = self.ev.steps(plant[3], left, self.slot_s, g.retail_ucr_per_kwh, g.feed_in_ucr_per_kwh,
                              self.price_outlook(slot + 1, min(left, _ENTRIES)))
        return flexibility.must_mw(steps, g.retail_ucr_per_kwh, self.slot_s)

    def seal(self, slot, curve, salt):
        """The signed Commit for (buy, sell) of `slot`; the order behind it is durable. None if one is sealed already."""
        if slot in self.sealed:
            return self.commit(slot)
        self.sealed = {s: o for s, o in self.sealed.items() if s >= slot - 1}
        self.sealed[slot] = Order(self.member, slot, salt, curve[0], curve[1])
        orders = [self.sealed[s] for s in sorted(self.sealed)]
        durable.save(self.folder + "orders", *list_pieces(orders))
        return self.commit(slot)

    def commit(self, slot):
        feeder = self.genesis.feeder_id
        commit = Commit(member=self.member, slot=slot, digest=self.sealed[slot].digest(feeder))
        commit.signature = self.signer.sign(commit.message(feeder))
        return commit
