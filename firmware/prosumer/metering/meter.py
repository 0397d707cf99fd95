"""Sample → reading: buffers of samples in, energy and its doubts out.

    frames ──crossing──▶ whole cycles ──add_dot──▶ sums of a group ──quantities──▶ P, Q, V, I, f ──▶ energy, exact

A *continuous* front end hands over every frame; cycles run on from one buffer into the next. A *windowed* one hands
over a piece now and then that stands for `covers_ms`. A group is 25 cycles or one window. Its borders lie between samples,
so the sample at a border is shared out between the groups and nothing is lost or counted twice.

Signs: grid > 0 is import from the street; pv > 0 is generation; battery > 0 is charging; ev and load > 0 is use.
`import_mwh` is the energy of the positive sign, `export_mwh` of the negative one.
"""
from array import array

from micropython import const

from prosumer.errors import Reject
from prosumer.metering import kernel
from prosumer.metering.calibration import CLASSES, ROLES
from prosumer.metering.channel import ZERO, Channel, check_balance
from prosumer.metering.quantities import active_reactive, isqrt, nearest, step_angle

# flags.py
_MISSING = const(1)
_NO_VOLTAGE = const(4)
_UNCALIBRATED = const(8)
_REVERSED = const(16)
_FREQUENCY = const(32)
_CLAMP = const(64)
_GAP = const(128)
_UNIT = const(4096)  # parts of a frame
_LEAST_MV = const(23000)  # a tenth of 230 V: less is no voltage


class Meter:
    """`channels`: ((name, role[, phase]), …) in the order of the frame, voltages (role "voltage") first.

    `calibration` has one entry for each. group_cycles: fewer than 25 where intervals are short. rate_mhz: the exact
    rate in millihertz, where the converter's clock is known better."""

    def __init__(self, channels, rate_hz, calibration, nominal_hz=50, group_cycles=25, rate_mhz=0):
        self.calibration = calibration
        self.rate_hz = rate_hz
        self._rate = rate_mhz or 1000 * rate_hz  # mHz
        self.frequency_mhz = 0
        self._nominal = nominal_hz
        self._group = group_cycles
        width = len(channels)
        phases = len([c for c in channels if c[1] == "voltage"])
        if phases != len(calibration.voltages) or width - phases != len(calibration.currents):
            raise Reject("calibration-channels")
        self._quarter = quarter = (rate_hz + 2 * nominal_hz) // (4 * nominal_hz)
        self._length = length = rate_hz // (5 * nominal_hz) | 1  # of the moving sum: a zero at the 5th harmonic
        if length > 511 or rate_hz < 16 * nominal_hz:
            raise Reject("sample-rate")
        self.delay = delay = length // 2 + 1  # the sums follow at the distance that the middle of the moving sum lies behind
        self._volts = []
        self.clamps = []
        most = 0
        for k in range(width):
            c = channels[k]
            if k < phases:
                entry = calibration.voltages[k]
                back = (delay + 1) * width - k
                channel = Channel(c, [array("i", [width, back, back, 0, entry["clip"] * entry["clip"]])])
                self._volts.append(channel)
                continue
            if c[1] not in ROLES:
                raise Reject("channel-role")
            index = k - phases
            entry = calibration.currents[index]
            whole = -(-self._lag(index, entry["max_ma"] // 10) >> 30)
            # frames by which the current is delayed, or else the voltage if the current is late
            dv, di = (0, whole) if whole >= 0 else (-whole, 0)
            most = max(most, dv + quarter, di)
            phase = c[2] if len(c) > 2 else index % phases
            back = (delay + 1 + di) * width - k
            v = (delay + 1 + dv) * width - phase
            # the current times itself, and times the voltage: at its time, a frame earlier and a quarter of a cycle earlier
            channel = Channel(c, [array("i", [width, other, back, word, entry["clip"] * entry["clip"]])
                                  for word, other in ((0, back), (4, v), (8, v + width), (12, v + quarter * width))])
            channel.phase = phase
            channel.whole = whole
            self.clamps.append(channel)
        self._all = self._volts + self.clamps
        self.history = delay + most + 1  # frames before a frame that are looked at
        self.min_frames = self.history + 10 * rate_hz // (3 * nominal_hz)  # of a buffer: two crossings at 45 Hz lie in it
        self._frame = 2 * width
        self._join = bytearray(2 * self.history * self._frame)
        self._detector = array("i", [0] * 6)
        self._cross = array("i", [width, 0, length * width])
        self._rest = 0  # frames that belong to no cycle: needed to find the first one, and what is left of lost ones
        self._begin_interval()
        self._restart()

    def _begin_interval(self):
        self._length_all = self._period_all = self._cycles_all = self._estimated = self._ms = 0
        self._lost = 0  # frames
        self.flags = 0 if self.calibration.state != "nominal" else _UNCALIBRATED

    def _lag(self, index, current_ma):
        """How much earlier the current seems to be than the voltage, in frames * 2^30."""
        lag = (self.calibration.currents[index]["skew_ns"] * self._rate << 30) // 1000000000000
        mhz = self.frequency_mhz or self._nominal * 1000
        return lag + (self.calibration.phase_mdeg(index, current_ma) * self._rate << 30) // (360000 * mhz)

    # -- samples ----------------------------------------------------------------------------------------

    def window(self, buf, frames, covers_ms=0):
        """Take `frames` frames from `buf`; returns the number of groups that were closed.

        covers_ms > 0: one window of a windowed front end. 0: the continuation of the stream."""
        h = self.history
        if not self.min_frames <= frames <= kernel.MAX_FRAMES:
            raise Reject("window-size")
        if covers_ms:
            self._restart()
            self._prime(buf, frames)
            if self._scan(buf, h, frames, covers_ms):
                return 1
            self._no_voltage(covers_ms * self.rate_hz // 1000)
            return 0
        closed = 0
        size = h * self._frame
        join = self._join
        if self._primed:
            join[size:] = memoryview(buf)[:size]
            closed = self._scan(join, h, 2 * h, 0)
        else:
            self._rest += h + self._frames
            self._restart()
            self._prime(buf, frames)
        closed += self._scan(buf, h, frames, 0)
        join[:size] = memoryview(buf)[(frames - h) * self._frame:frames * self._frame]
        if self._since > self.rate_hz // 38:  # below 38 Hz there is no voltage worth the name
            self._no_voltage(self._frames)
        return closed

    def lost(self, frames):
        """The front end lost this many frames: with the group they belong to they count as missing."""
        self._lost += frames + self._frames
        self.flags |= _MISSING
        self._restart()

    def finish(self):
        """The stream ends here: what is not a whole group counts as missing."""
        self._rest += self._frames
        self._restart()

    def _restart(self):
        """Forget the stream: the next buffer does not continue the last one."""
        self._primed = self._running = False
        self._frames = self._cycles = self._since = self._last = 0

    def _no_voltage(self, frames):
        self.flags |= _NO_VOLTAGE | _MISSING
        self._lost += frames
        self._restart()
        for c in self._all:
            c.power_nw = c.reactive_nw = c.level = 0

    def _prime(self, buf, frames):
        """Set the detector to the first `history` frames of a buffer, on the phase whose voltage is there.

        Its level is the mean over the first whole cycle, found with the mean over the buffer as level."""
        best = -1
        for k in range(len(self._volts)):
            gain = abs(self.calibration.voltages[k]["gain_nv"])
            s = self._raw(buf, k, self.history, frames)
            n = frames - self.history
            square = (((s[3] << 16) + s[2]) * n - s[0] * s[0]) * gain * gain
            if square > 2 * best:
                best = square
                self._cross[1] = k
                self._level(s[0], n)
                self._detector[3] = min(32500000000 * self._length // gain, 1 << 29)  # of _LEAST_MV
        for again in range(2):
            self._detector[0] = self._raw(buf, self._cross[1], self.history - self._length, self.history)[0] + kernel.BIAS
            self._detector[1] = 0
            if again:
                break
            n = self._crossing(buf, self.history, frames)
            end = self._crossing(buf, n + 1, frames) if n >= 0 else -1
            if end < 0:
                break
            self._level(self._raw(buf, self._cross[1], n, end)[0], end - n)
        self._primed = True

    def _raw(self, buf, k, start, end):
        """Sums of voltage k without delays."""
        g = array("i", self._volts[k].geometry[0])
        g[1] = g[2] = g[0] - k
        s = array("i", ZERO)
        kernel.add_dot(start, end, buf, g, s)
        return s

    def _crossing(self, buf, start, end):
        """The frame of the next crossing, or -1."""
        return kernel.crossing(start, end, buf, self._cross, self._detector) // self._cross[0]

    def _level(self, total, length):
        self._detector[2] = total * self._length // length + kernel.BIAS

    def _scan(self, buf, n, end, covers_ms):
        """Walk over the frames n … end: close a group at each of its last crossings, or at the last one of a window."""
        closed = 0
        a = last = n  # from here frames are not yet in the sums; the last crossing, or where it would be without the carried frames
        d = self._detector
        while True:
            n = self._crossing(buf, n, end) + 1
            if not n:
                break
            weight = d[4] * _UNIT // d[5] - _UNIT // 2  # where the border lies, from the middle between two frames
            if self._running:
                self._cycles += 1
                frames = self._since + n - last
                length = frames * _UNIT + weight - self._weight
                # a grid's period does not change by 0.7 of a frame from one cycle to the next: samples were lost
                good = not self._last or abs(length - abs(self._last)) < 2867
                if not good:
                    self._bad += 1
                    self._bad_length += length
                    self.flags |= _MISSING
                    if not covers_ms:
                        self._lost += frames
                # measured against the last good one; after two bad ones (negative: one so far) the grid itself has jumped
                self._last = length if good or self._last < 0 else -self._last
                if not covers_ms and self._cycles >= self._group:
                    self._add(buf, a, n)
                    self._edge(buf, n, weight)
                    self._close(weight, 0)
                    closed += 1
                    a = n
            else:
                if not covers_ms:
                    self._rest += n - a + self._frames
                self._frames = self._cycles = self._last = self._bad = self._bad_length = 0
                self._edge(buf, n, weight)
                self._swap(weight)
                self._running = True
                a = n
            self._weight = weight
            self._since = 0
            last = n
        if not covers_ms:
            self._since += end - last
            self._add(buf, a, end)
        elif self._cycles:
            self._add(buf, a, last)
            self._edge(buf, last, self._weight)
            self._close(self._weight, covers_ms)
            closed = 1
        return closed

    def _add(self, buf, a, n):
        if self._running:
            for c in self._all:
                c.add(buf, c.sums, a, n)
        self._frames += n - a

    def _edge(self, buf, n, weight):
        """The one sample at the border: the last of this group if the border lies before its middle, else the next."""
        j = n - 1 if weight < 0 else n
        for c in self._all:
            c.edge[:] = ZERO
            c.add(buf, c.edge, j, j + 1)

    def _swap(self, weight):
        """The border that ended a group begins the next."""
        self._weight0 = weight
        for c in self._all:
            c.edge, c.edge0 = c.edge0, c.edge
            c.sums[:] = ZERO

    # -- groups -----------------------------------------------------------------------------------------

    def _close(self, w1, covers_ms):
        w0 = self._weight0
        # what was measured counts as energy; a cycle that lacks samples says nothing about the frequency and is a missing one
        cycles = self._cycles - self._bad
        length = self._frames * _UNIT + w1 - w0  # in 1/_UNIT frames, as all sums below
        period = length - self._bad_length
        self.frequency_mhz = mhz = cycles * self._rate * _UNIT // period if period > 0 else 0
        if not 44950 <= mhz <= 65050:
            self.flags |= _FREQUENCY
            if not 40000 <= mhz <= 70000:  # no grid
                self._no_voltage(covers_ms * self.rate_hz // 1000 or self._frames)
                return
        theta = step_angle(cycles, period, _UNIT)
        self._length_all += length
        self._period_all += period
        self._cycles_all += cycles
        self._ms += covers_ms
        if covers_ms:
            self._estimated += max(0, (covers_ms * mhz + 500000) // 1000000 - cycles)
        totals = []
        for k in range(len(self._volts)):
            c = self._volts[k]
            total, square = c.moments(w1, w0, length)
            totals.append(total)
            gain = self.calibration.voltages[k]["gain_nv"]
            square *= gain * gain
            c.squares += square
            c.level = isqrt(square // length) // 1000000
            self.flags |= c.flags
        self._level(totals[self._cross[1]], length)
        # the time of the group in ms as a fraction, or what the window stands for
        span, per = (covers_ms, 1) if covers_ms else (length * 1000000, _UNIT * self._rate)
        for k in range(len(self.clamps)):
            c = self.clamps[k]
            self._power(k, c, totals[c.phase], length, theta, w1, w0, span, per)
        self._swap(w1)
        self._frames = self._cycles = self._bad = self._bad_length = 0

    def _power(self, k, c, v_total, length, theta, w1, w0, span, per):
        entry = self.calibration.currents[k]
        volts = self.calibration.voltages[c.phase]
        gain = entry["gain_na"]
        if self._volts[c.phase].level < _LEAST_MV:
            c.flags |= _NO_VOLTAGE
        total, square = c.moments(w1, w0, length)
        dc = v_total * total // length
        # a converter that is alive is never as quiet; an open input is pulled to the rail, far from any clamp's middle
        if entry["noise_mc"] and square <= 0 or 2 * abs(total) > entry["clip"] * length:
            c.flags |= _CLAMP
        square = max(0, square - entry["noise_mc"] * entry["noise_mc"] * length // 1000000) * gain * gain
        c.squares += square
        c.level = isqrt(square // length) // 1000000
        x = (c.whole << 30) - self._lag(k, c.level)
        p, q = active_reactive(c.sum(6, w1, w0) - dc, c.sum(10, w1, w0) - dc, c.sum(14, w1, w0) - dc, theta, x, self._quarter)
        scale = volts["gain_nv"] * gain  # counts^2 → 1e-18 W
        p = nearest(p * scale, length * 1000000000) - entry["offset_mw"] * 1000000
        q = nearest(q * scale, length * 1000000000)
        least = entry["no_load_mw"] * 1000000
        if abs(p) < least:
            p = 0
        if abs(q) < least:
            q = 0
        # power that the noise of both converters is worth in one sample, mW
        v = self._volts[c.phase].level * entry["noise_mc"] * abs(gain) // 1000000000000
        i = c.level * volts["noise_mc"] * abs(volts["gain_nv"]) // 1000000000000
        c.count(p, q, span, per, v * v + i * i, length)
        if c.role == "pv" and p < -20000000 * (entry["no_load_mw"] + 1):
            c.flags |= _REVERSED

    # -- readings ---------------------------------------------------------------------------------------

    def power_mw(self, name):
        """Latest active power of a channel, or the sum over all channels of a role."""
        found = [c.power_nw for c in self.clamps if name in (c.name, c.role)]
        if not found:
            raise Reject("no-such-channel")
        return (sum(found) + 500000) // 1000000

    @property
    def voltage_mv(self):
        return self._volts[0].level

    def close_interval(self, lost_ms=0, slot_ms=1 << 30):
        """The interval that ends here, as a dict; whole mWh, what is below a mWh is carried into the next.

        lost_ms: time before it in which nobody counted: what of it lies in the slot widens the uncertainty as lost frames do.

        cycles_processed were measured, cycles_estimated lay between windows, cycles_missing were neither (and their energy
        is not estimated). flags: those of the voltage and of all clamps together."""
        n = self._length_all
        rate = self._rate
        mhz = nearest(self._cycles_all * rate * _UNIT, self._period_all)
        hz = mhz or self._nominal * 1000
        lost = (2 * self._lost * hz + rate) // (2 * rate)
        if not n or lost * 100 > lost + self._cycles_all + self._estimated:
            self.flags |= _GAP
        # frames that are not yet half a cycle stay for the next interval
        self._rest += self._lost
        missing = (2 * self._rest * hz + rate) // (2 * rate)
        self._rest -= missing * rate // hz
        # covered time in ms as a fraction: exact, where a rounded one would shift the mean power
        span, per = (self._ms, 1) if self._ms else (n * 1000000, _UNIT * rate)
        lost_ms = min(lost_ms, max(0, slot_ms - span // per))
        volts = [isqrt(c.squares // n) // 1000000 if n else 0 for c in self._volts]
        if n:
            check_balance(self.clamps, span // per)
        channels = {}
        flags = self.flags
        for c in self.clamps:
            channels[c.name] = r = c.reading(n, volts[c.phase], span, per, self._ms, lost_ms + self._lost * 1000000 // rate,
                                             self.calibration, self.flags)
            flags |= r["flags"]
        for c in self._volts:
            c.reset()
        out = {"frequency_mhz": mhz, "voltage_mv": volts[0], "voltages_mv": volts, "covered_ms": nearest(span, per),
               "cycles_processed": self._cycles_all, "cycles_estimated": self._estimated, "cycles_missing": missing,
               "flags": flags, "calibration": self.calibration.hash(), "accuracy": CLASSES.index(self.calibration.accuracy),
               "channels": channels}
        self._begin_interval()
        return out
