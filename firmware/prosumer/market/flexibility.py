"""Devices that can wait: what their energy is worth, and what they do each minute.

Power and energy are mW and mWh at the house's terminals, positive when the device takes; stored energy is mWh inside. Values
are ucr/kWh. For the order each device gives *steps* `(value, take_mwh, give_mwh)` that bidding.make_order folds into the
house's curve; within the slot each follows one rule: keep the house at the position it traded, within its own limits. With
nothing traded that position is zero and the rule is plain greedy self-consumption: what a house has without the market.
"""
from micropython import const

from prosumer.errors import Reject

_HOUR_S = const(3600)
# Where stored energy is surely, likely, even odds, hardly, not needed before the next sun: probability in 1/16 between
# cuts in 1/16 of the spread (quantiles 7/8, 5/8, 3/8, 1/8 of a Laplace error).
_NEEDED = (16, 12, 8, 4, 0)
_CUTS = (-22, -5, 5, 22)


def target_mw(traded_mwh, done_mwh, left_s):
    """Net power that brings the house to its traded position by the end of the slot, from what it has drawn so far."""
    return (traded_mwh - done_mwh) * _HOUR_S // max(left_s, 1)


def must_mw(steps, retail, slot_s):
    """Power for the part of a slot's steps that is worth retail, which no price can put off; rounded up."""
    return -(-sum([take for value, take, _ in steps if value >= retail]) * _HOUR_S // slot_s)


def _clip(value, low, high):
    return low if value < low else high if value > high else value


def _nth(prices, n):
    """The n-th cheapest of the prices (n from 1)."""
    return sorted(prices)[n - 1]


class Battery:
    """A home battery: greedy self-consumption around the traded position, and a value for what it holds."""

    def __init__(self, capacity_mwh, power_mw, efficiency_permille=950, reserve_mwh=0):
        """`efficiency_permille` is one way (charging or discharging); `reserve_mwh` is never given."""
        if not (0 <= reserve_mwh < capacity_mwh and power_mw > 0 and 500 <= efficiency_permille <= 1000):
            raise Reject("battery-parameters")
        self.capacity_mwh = capacity_mwh
        self.power_mw = power_mw
        self.efficiency = efficiency_permille
        self.reserve_mwh = reserve_mwh

    def limits_mw(self, stored_mwh, period_s):
        """(give, take): the powers it can keep up for a period with what it holds and what fits in."""
        give = max(0, stored_mwh - self.reserve_mwh) * self.efficiency * _HOUR_S // (1000 * period_s)
        take = max(0, self.capacity_mwh - stored_mwh) * 1000 * _HOUR_S // (self.efficiency * period_s)
        return min(give, self.power_mw), min(take, self.power_mw)

    def setpoint(self, surplus_mw, stored_mwh, period_s=60):
        """Power for the next period: takes the surplus over the house's target, gives what lacks."""
        give, take = self.limits_mw(stored_mwh, period_s)
        return _clip(surplus_mw, -give, take)

    def after(self, stored_mwh, surplus_mwh, slot_s):
        """What it will hold when a slot has left it this surplus: to look ahead over slots already traded."""
        power = self.setpoint(surplus_mwh * _HOUR_S // slot_s, stored_mwh, slot_s)
        energy = power * slot_s // _HOUR_S
        return stored_mwh + (energy * self.efficiency // 1000 if energy >= 0 else -(-energy * 1000 // self.efficiency))

    def turning_point(self, stored_mwh, outlook, slot_s):
        """(shift_mwh, spread_mwh, slots): more stored than `shift` above now and it fills before it empties; else it empties.

        A unit below the turning point will replace a purchase, one above it only a sale: with two prices that is the
        whole value of storage. `outlook` is the house's net need in the coming slots; spread is the doubt in it.
        """
        low, high = self.reserve_mwh - stored_mwh, self.capacity_mwh - stored_mwh
        most = self.power_mw * slot_s // _HOUR_S
        path = flow = slots = 0
        for need in outlook:
            need = _clip(need, -most, most)
            path += -need * 1000 // self.efficiency if need > 0 else -need * self.efficiency // 1000
            flow += abs(need)
            empties, fills = self.reserve_mwh - stored_mwh - path, self.capacity_mwh - stored_mwh - path
            if empties >= high:
                return high, flow // 2, slots
            if fills <= low:
                return low, flow // 2, slots
            low, high = max(low, empties), min(high, fills)
            slots += 1
        # Undecided after a day: it goes on as the day's balance goes, as far as that stands out of the doubt.
        lean = _clip(path * (high - low) // max(flow // 2, 1), low - high, high - low)
        return (low + high - lean) // 2, flow // 2, slots

    def steps(self, stored_mwh, outlook, slot_s, retail, feed_in, prices=(), span=1):
        """Steps for the order of a slot that begins with `stored_mwh`; `outlook` and `prices` are of the times after it.

        An entry of these stands for `span` slots: a day of short slots would not fit a small heap.

        Without an outlook (a first day) stored energy is never sold and bought only near feed-in: greedy.
        """
        efficiency = self.efficiency
        give, take = self.limits_mw(stored_mwh, slot_s)
        give, take = -(give * slot_s // _HOUR_S), take * slot_s // _HOUR_S
        shift, spread, slots = self.turning_point(stored_mwh, outlook, slot_s * span) if outlook else (self.capacity_mwh, 0, 0)
        needed = retail * efficiency // 1000                # worth of a stored unit that replaces a purchase
        spare, most = self._market(stored_mwh, slot_s * span, retail, feed_in, prices, slots)
        if not outlook:
            most = (retail + 3 * feed_in) // 4
        steps = []
        begin = -self.capacity_mwh
        for i in range(len(_NEEDED)):
            end = min(shift + spread * _CUTS[i] // 16, self.capacity_mwh) if i < len(_CUTS) else self.capacity_mwh
            worth = (_NEEDED[i] * needed + (16 - _NEEDED[i]) * spare) // 16
            gives = min(end * efficiency // 1000, 0) - max(begin * efficiency // 1000, give)
            takes = min(end * 1000 // efficiency, take) - max(begin * 1000 // efficiency, 0)
            if gives > 0:       # below retail, so that the house empties its own battery before it buys at retail
                steps.append((_clip(worth * 1000 // efficiency, feed_in, max(feed_in, retail - 1)), 0, gives))
            if takes > 0:
                steps.append((_clip(worth * efficiency // 1000, feed_in, most), takes, 0))
            begin = max(begin, end)
        return steps

    def _market(self, stored_mwh, slot_s, retail, feed_in, prices, slots):
        """(spare, most): what a stored unit is worth that the house will not need, and the most to pay for charging now.

        The n-th cheapest of the coming prices fills the room; it is at least that, or what the evening's neighbours pay before
        the battery fills. Where the energy is needed first, charging must not cost more than it can still be had for until then.
        """
        slot_mwh = self.power_mw * slot_s // _HOUR_S
        margin = (retail - feed_in) // 16                   # at such a price rather store than sell
        n = (self.capacity_mwh - stored_mwh) * 1000 // self.efficiency // slot_mwh + 1
        spare = _clip(_nth(prices, n), feed_in, retail) if n <= len(prices) else feed_in
        before = sorted(prices[:slots])
        most = _clip(before[n - 1] + margin, feed_in, retail) if n <= len(before) else retail
        n = max(0, stored_mwh - self.reserve_mwh) * self.efficiency // 1000 // slot_mwh + 1
        if n <= len(before):
            evening = min(before[-n], retail) * self.efficiency // 1000 * self.efficiency // 1000
            spare = max(spare, evening - margin)
        return (spare + margin) * 1000 // self.efficiency, most


class Ev:
    """A car that must have an energy by a time: it waits for cheap slots while it can."""

    def __init__(self, power_mw, min_power_mw=0):
        if not 0 <= min_power_mw <= power_mw or power_mw <= 0:
            raise Reject("ev-parameters")
        self.power_mw = power_mw
        self.min_power_mw = min_power_mw

    def steps(self, need_mwh, slots_left, slot_s, retail, feed_in, prices=()):
        """Steps for a slot; `slots_left` counts the slots to the deadline with this one, `prices` are of those after it.

        Worth what the slots that would be needed later cost, raised towards retail as the slack goes; at retail, and then
        it must be charged (`must_mw`), when later slots no longer suffice or are not cheaper.
        """
        most = self.power_mw * slot_s // _HOUR_S
        if need_mwh <= 0 or slots_left <= 0:
            return []
        want = min(need_mwh, most)
        later = min(len(prices), slots_left - 1)
        slots = -(-need_mwh // most)
        if slots > later:       # (almost) no choice left, or no price known
            return [(retail, want, 0)]
        value = _nth(prices[:later], slots)
        value = _clip(value + (retail - value) * slots // (later + 1) // 2, feed_in, retail)
        return [(value, want, 0)]

    def setpoint(self, surplus_mw, must_mw, need_mwh, period_s=60):
        """Power for the next period: what must be, and beyond it only surplus over the house's target."""
        most = min(self.power_mw, max(0, need_mwh) * _HOUR_S // period_s)
        power = _clip(surplus_mw, min(must_mw, most), most)
        return power if power >= min(self.min_power_mw, most) else 0 if must_mw <= 0 else min(self.min_power_mw, most)


def dispatch(house_mw, target, battery=None, stored_mwh=0, ev=None, ev_must_mw=0, ev_need_mwh=0, period_s=60):
    """(battery_mw, ev_mw) for the next period that bring the house (`house_mw`, without both) to its target."""
    ev_mw = ev.setpoint(target - house_mw, ev_must_mw, ev_need_mwh, period_s) if ev else 0
    battery_mw = battery.setpoint(target - house_mw - ev_mw, stored_mwh, period_s) if battery else 0
    return battery_mw, ev_mw
