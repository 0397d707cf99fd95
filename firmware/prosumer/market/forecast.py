"""What the house will use and generate: the meter's own history joined with a weather forecast.

Integers only, because orders made from it are agreed data. Energies are mWh per slot, irradiance W/m2.

Every component has a few *views* that are simple and cheap (a day's profile, the level of the last hours, what
the sky was worth a moment ago). Each view keeps the mean absolute error it made at the horizon that really
matters (the order's), and the forecast is their mean weighted by 1/error^2: at first that is persistence, and
the profile takes over as days are seen. The error of the joined forecast is what bidding.py takes for its risk.
(Inverse-variance combination: Bates & Granger, "The Combination of Forecasts", 1969.)
"""
from array import array
from struct import pack, unpack_from

from micropython import const

from prosumer.errors import Reject

_VERSION = const(1)
_MAX_BINS = const(96)       # slots shorter than 15 min share a bin of the day's profiles
_UNKNOWN = const(-1)
_RING = const(4)            # predictions that wait for their slot: orders look 2 slots ahead
_MAX_MWH = const(60_000_000)  # 60 kWh a slot: far beyond any house, keeps one bad reading from staying for days
_HEAD = const(3)            # version, bins
_BRIGHT = const(800)        # W/m2 at which a street is expected to have solar power to spare
# Where the distribution of the net's error is followed, in 1/8 of the mean absolute deviation, and P(error > there) in
# 1/4096 before anything was seen: a Laplace error, heavy-tailed as household loads are; its scale is that deviation.
AT = (-48, -24, -12, -6, -3, 0, 3, 6, 12, 24, 48)
LAPLACE = (4096, 3994, 3639, 3129, 2688, 2048, 1408, 967, 457, 102, 0)
ALWAYS = const(4096)


def hourly(values, start_s, at_s):
    """One value of an hourly forecast that begins at `start_s`, interpolated at `at_s`; None outside of it."""
    ahead_s = at_s - start_s
    hour, rest = ahead_s // 3600, ahead_s % 3600
    if ahead_s < 0 or hour >= len(values) or (rest and hour + 1 >= len(values)):
        return None
    return values[hour] if not rest else (values[hour] * (3600 - rest) + values[hour + 1] * rest) // 3600


class _Views:
    """Forecasts of one component by several views, joined by how well each has done: errors are mWh, mean absolute."""

    def __init__(self, count):
        self.errors = array("i", [0] * (count + 2))     # one per view, then of the joined forecast, then its mean

    def join(self, views):
        """The weighted mean of the views that know something (>= 0); 0 when none does."""
        errors = self.errors
        best = min([errors[i] for i in range(len(views)) if views[i] >= 0] or [0]) + 1
        total = weights = 0
        for i in range(len(views)):
            if views[i] >= 0:
                ratio = (best << 8) // (errors[i] + 1)
                total += views[i] * ratio * ratio
                weights += ratio * ratio
        return total // weights if weights else 0

    def learn(self, views, joined, actual):
        errors = self.errors
        misses = [abs(view - actual) if view >= 0 else _UNKNOWN for view in views] + [abs(joined - actual), joined]
        for i in range(len(errors)):
            if misses[i] >= 0:
                errors[i] = misses[i] if not errors[i] else errors[i] + _part(misses[i] - errors[i], 4)

    def deviation(self, joined, cold, of_hour=_UNKNOWN):
        """Mean absolute error to expect of a forecast: half as it was lately (and at this hour), half in proportion to what
        is forecast, because a quiet house is surer than a busy one. `cold`: this hour was never seen, so it can be as wrong
        as it is large."""
        miss, mean = self.errors[-2:]
        if of_hour >= 0:
            miss = (miss + of_hour) // 2
        if mean:
            miss = (miss + min(miss * joined // mean, 4 * miss)) // 2
        return max(miss, joined) if cold else miss


def _part(difference, shift):
    """difference / 2^shift, rounded to zero so that a level settles from both sides alike."""
    return difference >> shift if difference >= 0 else -(-difference >> shift)


class Forecast:
    """Consumption and generation of one house, from what its meter saw.

        f.observe(slot, consumption_mwh, generation_mwh, irradiance)    after each slot, oldest first
        f.predict(slot, running, irradiance) -> (consumption_mwh, generation_mwh, deviation_mwh)
        f.ahead(slot, count) -> [net_mwh, ...]                          a day's outlook, for storage

    `slot` counts slots since any midnight (UTC is fine: the profile only has to repeat daily).
    """

    def __init__(self, slots_per_day):
        if not 24 <= slots_per_day <= 1440:
            raise Reject("forecast-slots-per-day")
        self._per_day = slots_per_day
        self._bins = bins = min(slots_per_day, _MAX_BINS)
        self.use = array("i", [_UNKNOWN] * bins)       # consumption by time of day
        self._miss = array("i", [_UNKNOWN] * bins)      # its mean absolute error by time of day
        self.sun = array("i", [_UNKNOWN] * bins)       # generation by time of day
        self._levels = array("i", [_UNKNOWN, _UNKNOWN, 0, _UNKNOWN])    # fast, slow, off the profile; last generation
        # generation and irradiance of the last hours (their ratio is the plant), then generation and what the profile had
        self._sky = array("i", [0] * 4)
        self._use_views = _Views(3)
        self._sun_views = _Views(3)
        self._prices = array("i", [_UNKNOWN] * bins)    # clearing price by time of day
        self.tails = array("i", LAPLACE)                # P(error > AT/8 deviations), followed over some 130 slots
        self._waiting = [None] * _RING

    def _bin(self, slot):
        return slot % self._per_day * self._bins // self._per_day

    def observe(self, slot, consumption_mwh, generation_mwh, irradiance=None):
        """Learn one slot's measured energies; a missing slot is simply not observed."""
        if not (0 <= consumption_mwh <= _MAX_MWH and 0 <= generation_mwh <= _MAX_MWH):
            raise Reject("forecast-energy-range")
        self._judge(slot, consumption_mwh, generation_mwh)
        at = self._bin(slot)
        use, sun = self.use, self.sun
        levels = self._levels
        if use[at] >= 0:
            levels[2] += _part(consumption_mwh - use[at] - levels[2], 2)
        self._sky = self._sky_after(at, generation_mwh, irradiance)
        levels[0], levels[1] = _level(levels[0], consumption_mwh, 1), _level(levels[1], consumption_mwh, 4)
        levels[3] = generation_mwh
        # Bins that hold several slots learn from each, so they take a smaller step.
        shift = 2 if self._per_day <= _MAX_BINS else 4
        use[at] = _level(use[at], consumption_mwh, shift)
        sun[at] = _level(sun[at], generation_mwh, shift)

    def _judge(self, slot, consumption_mwh, generation_mwh):
        waiting = self._waiting[slot % _RING]
        if waiting is None or waiting[0] != slot:
            return
        _, use_views, use, sun_views, sun, deviation = waiting
        self._use_views.learn(use_views, use, consumption_mwh)
        if generation_mwh or sun:       # nights would teach that every view is perfect
            self._sun_views.learn(sun_views, sun, generation_mwh)
        error = consumption_mwh - generation_mwh - use + sun
        for i in range(1, len(AT) - 1):
            self.tails[i] += _part((ALWAYS if error * 8 > AT[i] * deviation else 0) - self.tails[i], 7)
        at = self._bin(slot)
        self._miss[at] = _level(self._miss[at], abs(use - consumption_mwh), 2)

    def _sky_after(self, at, generation_mwh, irradiance):
        sky = array("i", self._sky)
        if irradiance:
            sky[0] += _part(generation_mwh - sky[0], 1)
            sky[1] += _part(irradiance * 1000 - sky[1], 1)
        if self.sun[at] > 0:
            sky[2] += _part(generation_mwh - sky[2], 1)
            sky[3] += _part(self.sun[at] - sky[3], 1)
        return sky

    def predict(self, slot, running=None, irradiance=None):
        """The slot's (consumption, generation, deviation of the net), deviation being the mean absolute error expected.

        `running` is (slot, consumption_mwh, generation_mwh, irradiance) of the slot under way, scaled to a whole slot:
        the newest thing known, used but not learnt.
        """
        levels, sky = self._levels, self._sky
        fast, slow, off, last = levels
        if running is not None:
            at = self._bin(running[0])
            if self.use[at] >= 0:
                off += _part(running[1] - self.use[at] - off, 2)
            sky = self._sky_after(at, running[2], running[3])
            fast, slow, last = _level(fast, running[1], 1), _level(slow, running[1], 4), running[2]
        at = self._bin(slot)
        profile = self.use[at]
        use_views = (max(0, profile + off // 2) if profile >= 0 else _UNKNOWN, fast, slow)
        sun_views = (sky[0] * irradiance * 1000 // sky[1] if irradiance is not None and sky[1] > 0 else _UNKNOWN,
                     self._by_profile(at, sky), last)
        use, sun = self._use_views.join(use_views), self._sun_views.join(sun_views)
        deviation = self._deviation(at, use, sun)
        self._waiting[slot % _RING] = (slot, use_views, use, sun_views, sun, deviation)
        return use, sun, deviation

    def _by_profile(self, at, sky):
        """Generation as on the last days at this time, times what the sky of the last hour was against theirs."""
        profile = self.sun[at]
        if profile <= 0 or sky[3] <= 0:
            return profile
        return min(profile * sky[2] // sky[3], 3 * profile)

    def _deviation(self, at, use, sun):
        miss = self._use_views.deviation(use, self.use[at] < 0, self._miss[at])
        cloud = min(self._sun_views.deviation(sun, self.sun[at] < 0), sun)
        return max(miss, cloud) + min(miss, cloud) * 3 // 8     # close to sqrt(a^2 + b^2)

    def ahead(self, slot, count, span=1):
        """Net need (consumption - generation) of `count` times `span` slots from `slot` by the profiles, [] before a day is known.

        The outlook that storage is planned by.
        """
        use, sun = self.use, self.sun
        if min(use) < 0:
            return []
        return [(use[at] - sun[at]) * span for at in [self._bin(slot + i * span) for i in range(count)]]

    def observe_price(self, slot, price_ucr_per_kwh):
        """Learn what a slot cleared at (a void slot: retail)."""
        at = self._bin(slot)
        self._prices[at] = _level(self._prices[at], price_ucr_per_kwh, 1)

    def prices(self, slot, count, retail, feed_in, irradiance=(), span=1):
        """Expected clearing prices of every `span`-th slot from `slot`: as on the last days, before that by how bright it will be.

        `irradiance`: the weather forecast of these slots, None where there is none.
        """
        expected = []
        for i in range(count):
            price = self._prices[self._bin(slot + i * span)]
            if price < 0:
                light = irradiance[i] if i < len(irradiance) else None
                price = retail - (retail - feed_in) * min(light or 0, _BRIGHT) * 3 // (4 * _BRIGHT)
            expected.append(price)
        return expected

    def pieces(self):
        """State for the flash store: version, bins, then big-endian i32; piece by piece, so that no large block is needed."""
        return [pack(">BH", _VERSION, self._bins)] + [_ints(a) for a in self._arrays()]

    def dump(self):
        """The pieces joined: 1,655 bytes for 96 bins."""
        return b"".join(self.pieces())

    def load(self, state):
        """Take up what `dump` wrote; refuses another version, slot length or size and then changes nothing."""
        arrays = self._arrays()
        size = _HEAD + 4 * sum([len(a) for a in arrays])
        if len(state) != size or unpack_from(">BH", state) != (_VERSION, self._bins):
            raise Reject("forecast-state")
        at = _HEAD
        for a in arrays:
            for i in range(len(a)):
                a[i] = unpack_from(">i", state, at)[0]
                at += 4

    def _arrays(self):
        return (self.use, self._miss, self.sun, self._prices, self._levels, self._sky,
                self._use_views.errors, self._sun_views.errors, self.tails)


def _level(level, value, shift):
    """An exponentially smoothed level; an unknown one starts at the value."""
    return value if level < 0 else level + _part(value - level, shift)


def _ints(values):
    return pack(">%di" % len(values), *values)
