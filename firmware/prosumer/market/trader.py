"""Reading → order: what this house wants for the slot after next, sealed now and shown when its commit is final.

Joins forecast, bidding and the flexible devices (each a pure module beside this one) with what the meter knows:
its own history, the weather, the battery's and car's state. An order is on flash before its commit leaves.
"""
from micropython import const

from prosumer import durable
from prosumer.codec import Cursor, list_pieces
from prosumer.errors import Reject
from prosumer.market import bidding, flexibility, settlement
from prosumer.market.book import exposure_ucr
from prosumer.market.forecast import Forecast, hourly
from prosumer.records import ROLE_GENERATES, ROLE_HEAD, ROLE_LEFT, ROLE_STORES, Commit, Order

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
        light, g = [self.irradiance(slot + i * span) for i in range(count)], self.genesis
        prices = self.forecast.prices(slot, count, g.retail_ucr_per_kwh, g.feed_in_ucr_per_kwh, light, span)
        if g.bands:  # other weekdays, other tariffs
            for i in range(count):
                prices[i] = min(prices[i], g.tariff(slot + i * span).retail_ucr_per_kwh)
        return prices

    # -- orders

    def make(self, running, plant, credit=None):
        """Sealed Order for two slots after `running` = (slot, consumption_mwh, generation_mwh scaled to the whole slot).

        `plant`: (soc_mwh, capacity_mwh, ev_plugged, ev_need_mwh, ev_deadline_s); `credit`: what it may cost (pool.credit_ucr), or None.
        Returns (buy, sell), or None when there is nothing to buy or sell.
        """
        roles = self.genesis.members[self.member][1]
        if roles & (ROLE_HEAD | ROLE_LEFT):
            return None
        slot, target = running[0], running[0] + 2
        # what the next slot's order will have got: it is cleared at the coming gate, which is too late for this one
        order, position = self.sealed.get(slot + 1), 0
        if order:
            position = bidding.position_at(order.buy, order.sell, self.price_outlook(slot + 1, 1)[0])
        run = running + (self.irradiance(slot),)
        use, sun, deviation = self.forecast.predict(target, run, self.irradiance(target))
        g, flex, can_have = self.genesis, [], 0
        tariff, dearest = g.tariff(target), g.dearest()
        retail, feed_in = dearest.retail_ucr_per_kwh, dearest.feed_in_ucr_per_kwh  # what is stored is worth tomorrow's prices
        if sun:
            can_have = min(sun + 3 * deviation, self.peak_mwh or sun)
        if self.battery:
            next_use, next_sun, _ = self.forecast.predict(slot + 1, run, self.irradiance(slot + 1))
            stored = self.battery.after(plant[0], position - next_use + next_sun, self.slot_s)
            span = -(-self.per_day // _ENTRIES)
            outlook = self.forecast.ahead(target + 1, self.per_day // span, span)
            prices = self.price_outlook(target + 1, self.per_day // span, span)
            steps = self.battery.steps(stored, outlook, self.slot_s, retail, feed_in, prices, span)
            flex += steps
            can_have += sum([give for _, _, give in steps])
        left = self.slots_left(plant, target)
        if left:
            need = plant[3] - self._planned(slot + 1, position)
            flex += self.ev.steps(need, left, self.slot_s, retail, feed_in, self.price_outlook(target + 1, min(left, _ENTRIES)))
        retail, feed_in = tariff.retail_ucr_per_kwh, tariff.feed_in_ucr_per_kwh
        loss, fee = settlement.local_charges(tariff, feed_in)[0]
        most = least = g.fuse_mwh(self.member)
        if not roles & (ROLE_GENERATES | ROLE_STORES):
            can_have = 0
        if credit is not None:
            if order:
                credit -= exposure_ucr(g.tariff(slot + 1), order.buy, order.sell)
            per_mwh = retail + tariff.local_fee_ucr_per_kwh + settlement.pays(retail, tariff.loss_per_mille * 1000)
            credit = max(0, credit) * 1000000
            most = min(most, credit // per_mwh)
            least = min(least, credit // max(1, per_mwh - feed_in))
        buy, sell = bidding.make_order(retail, feed_in, use - sun, deviation, flex, most, min(can_have, least), loss + fee, self.forecast.tails)
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
        dearest = self.genesis.dearest()
        steps = self.ev.steps(plant[3], left, self.slot_s, dearest.retail_ucr_per_kwh, dearest.feed_in_ucr_per_kwh,
                              self.price_outlook(slot + 1, min(left, _ENTRIES)))
        return flexibility.must_mw(steps, dearest.retail_ucr_per_kwh, self.slot_s)

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
