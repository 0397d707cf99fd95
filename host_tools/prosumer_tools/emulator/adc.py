"""The emulated board's analogue side: waveforms, current clamps and a converter with the faults that real ones have.

Everything that costs time (noise, sine tables) is computed once, so that a window of 1600 frames of three channels
takes well under half a millisecond: an emulated street asks for many. `samples()` is the slow, general way for
tests and benches: any waveform as a function of time, sampled at the instants the converter really samples at.

Truth is float64 and lies outside the firmware; the firmware sees int16 counts only.
"""
import math
from dataclasses import dataclass, field

import numpy as np

NOMINAL_V = 230.0
SQRT2 = math.sqrt(2)


# The converters of the boards, as models. Where a datasheet gives a range, the worse end. Bursts are read at 1987 Hz, no multiple of a
# grid's frequency, so that the edges of a dimmer's current do not fall between the same two samples for ever.
PRESETS = {
    # TI PCM1820: sigma-delta, both channels at one instant, its high-pass at 0.00025 of the rate; its lowest 8 bits are dropped
    "pcm1820": {"bits": 16, "noise_lsb": 0.4, "skew_us": 0.0, "highpass_hz": 2.0, "antialias": "decimation"},
    # Microchip MCP3204/3208 (grade B: INL 1 LSB), channels one after the other on SPI, read by a paced loop
    "mcp3204": {"rate_hz": 1987, "bits": 12, "noise_lsb": 0.4, "skew_us": 60.0, "inl_bow_lsb": 0.5, "inl_s_lsb": 0.5, "jitter_us": 4.0,
                "antialias": "rc"},
    # the ESP32's own ADC1 at 11 dB: noise of several LSB and a transfer curve that bends
    "esp32-adc1": {"rate_hz": 1987, "bits": 12, "noise_lsb": 4.0, "skew_us": 80.0, "inl_bow_lsb": 12.0, "inl_s_lsb": 8.0,
                   "jitter_us": 10.0, "antialias": "rc"},
}
RC_HZ = 2000.0  # the boards' resistor and capacitor before a converter
LOWPASS = (3, 1200.0)  # order and corner of a Butterworth filter with one operational amplifier


@dataclass
class ModelledADC:
    """A converter of `bits` bits read by rows of channels: voltage, then currents.

    v_full_scale: volts (peak) at the positive limit; i_full_scale: amperes (peak), one number or one per current.
    skew_us: how much later than the voltage each current is sampled (one number, or one per current).
    noise_lsb: rms noise before rounding. inl_bow_lsb and inl_s_lsb: integral nonlinearity, a bow (even) and an S (odd),
    in LSB at their largest. jitter_us: rms of the sampling instant. offset_lsb: one number or one per channel.
    highpass_hz: first-order high-pass in the converter (PCM182x), 0 for none. antialias: what stands before the sampling in
    `samples()`: "" nothing, "rc" one pole (RC_HZ), "lowpass" a third-order filter (LOWPASS), "decimation" the steep filter inside
    a sigma-delta converter (pass band to 0.42 of the rate)."""

    rate_hz: int = 8000
    bits: int = 12
    noise_lsb: float = 0.55
    skew_us: float | tuple = 50.0
    offset_lsb: float | tuple = 0.0
    inl_bow_lsb: float = 0.0
    inl_s_lsb: float = 0.0
    jitter_us: float = 0.0
    highpass_hz: float = 0.0
    antialias: str = ""
    v_full_scale: float = 400.0
    i_full_scale: float | tuple = 100.0
    seed: int = 1
    _pool: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)
        self._pool = self.random.standard_normal(1 << 18).astype(np.float32)
        self.top = (1 << (self.bits - 1)) - 1
        self._tables = {}

    # -- what a count is worth ---------------------------------------------------------------------------

    def per_current(self, value, k):
        return value[k] if isinstance(value, (tuple, list)) else value

    def calibration(self, currents=2, voltages=1, state="factory", accuracy="B", no_load_mw=None):
        """The true numbers of this converter as the firmware's calibration (a dict for `Calibration.from_dict`)."""
        amps = [self.per_current(self.i_full_scale, k) for k in range(currents)]
        noise = round(1000 * math.hypot(self.noise_lsb, 12 ** -0.5))
        return {
            "version": 1, "state": state, "accuracy": accuracy, "date": 0,
            "voltages": [{"gain_nv": round(self.v_full_scale / self.top * 1e9), "noise_mc": noise, "clip": self.top}] * voltages,
            "currents": [{"gain_na": round(a / self.top * 1e9), "skew_ns": round(1000 * self.per_current(self.skew_us, k)),
                          "offset_mw": 0, "no_load_mw": round(NOMINAL_V * a / SQRT2 * 0.2) if no_load_mw is None else no_load_mw,
                          "noise_mc": noise, "clip": self.top, "max_ma": round(a / SQRT2 * 1000), "phase": []}
                         for k, a in enumerate(amps)]}

    # -- the fast way ------------------------------------------------------------------------------------

    def window(self, t0_s, frames, v_rms, f_hz, currents):
        """One contiguous window as bytes, int16 little-endian, interleaved.

        currents: for each clamp (p_w, q_var) or (p_w, q_var, ((order, share, lag_rad), …)): harmonics of the current, share
        of its fundamental. q_var > 0 is inductive. The voltage is a clean sine here."""
        f = round(f_hz * 1000)
        table = self._tables.get((f, frames))
        if table is None:
            if len(self._tables) > 64:
                self._tables.clear()
            angle = 2 * math.pi * f / 1000 / self.rate_hz * np.arange(frames)
            table = self._tables[(f, frames)] = (np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32), {})
        sin, cos, higher = table
        width = 1 + len(currents)
        start = 2 * math.pi * ((f / 1000 * t0_s) % 1.0)
        out = np.empty((width, frames), np.float32)
        k = v_rms * SQRT2 / self.v_full_scale * self.top
        np.multiply(sin, k * math.cos(start), out=out[0])
        out[0] += cos * np.float32(k * math.sin(start))
        for j, load in enumerate(currents):
            p, q = load[0], load[1]
            scale = SQRT2 / self.per_current(self.i_full_scale, j) * self.top / v_rms if v_rms > 1 else 0.0
            skew = 2 * math.pi * f / 1000 * self.per_current(self.skew_us, j) * 1e-6
            a = start + skew
            # i = sqrt2/V * (P sin - Q cos): the part in phase, and the part that lags by 90 degrees
            s = scale * (p * math.cos(a) + q * math.sin(a))
            c = scale * (p * math.sin(a) - q * math.cos(a))
            row = out[1 + j]
            np.multiply(sin, s, out=row)
            row += cos * np.float32(c)
            if len(load) > 2 and load[2]:
                size = scale * math.hypot(p, q)
                for order, share, lag in load[2]:
                    pair = higher.get(order)
                    if pair is None:
                        angle = 2 * math.pi * f / 1000 / self.rate_hz * order * np.arange(frames)
                        pair = higher[order] = (np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32))
                    b = order * a - lag
                    row += pair[0] * np.float32(size * share * math.cos(b))
                    row += pair[1] * np.float32(size * share * math.sin(b))
        return self._convert(out)

    # -- the general way ---------------------------------------------------------------------------------

    def samples(self, t0_s, frames, voltages, currents):
        """As `window`, for any waveforms: functions of an array of times in seconds that return volts or amperes."""
        out = np.empty((len(voltages) + len(currents), frames), np.float64)
        for k, wave in enumerate(voltages):
            out[k] = self._sampled(wave, t0_s, frames) / self.v_full_scale * self.top
        for k, wave in enumerate(currents):
            late = self.per_current(self.skew_us, k) * 1e-6
            out[len(voltages) + k] = self._sampled(wave, t0_s + late, frames) / self.per_current(self.i_full_scale, k) * self.top
        if self.highpass_hz:
            from scipy.signal import lfilter
            r = math.exp(-2 * math.pi * self.highpass_hz / self.rate_hz)
            out = lfilter([(1 + r) / 2, -(1 + r) / 2], [1, -r], out, axis=1)
        return self._convert(out)

    def _sampled(self, wave, t0_s, frames):
        """`wave` at the instants of one channel, behind its filter."""
        if not self.antialias:
            t = t0_s + np.arange(frames) / self.rate_hz
            return wave(t + self.random.normal(0, self.jitter_us * 1e-6, t.shape) if self.jitter_us else t)
        from scipy import signal
        fold = 64  # cells of a sample, each taken at a random instant in it: so that edges lie where they are in the mean
        lead = 64  # frames for the filter to settle
        rate = self.rate_hz * fold
        cells = np.arange((frames + 2 * lead) * fold) - lead * fold
        fine = wave(t0_s + (cells + self.random.random(cells.size)) / rate)
        if self.antialias == "decimation":
            # symmetric: its delay is the same for all channels and left out
            taps = signal.firwin(64 * fold + 1, 0.46 / fold * 2, window=("kaiser", 8.0))
            fine = signal.oaconvolve(fine, taps, "same")
        else:
            order, corner = LOWPASS if self.antialias == "lowpass" else (1, RC_HZ)
            fine = signal.sosfilt(signal.butter(order, corner, fs=rate, output="sos"), fine)
        if not self.jitter_us:
            return fine[lead * fold:(lead + frames) * fold:fold]
        at = (lead + np.arange(frames) + self.random.normal(0, self.jitter_us * 1e-6 * self.rate_hz, frames)) * fold
        return np.interp(at, np.arange(fine.size), fine)

    def _convert(self, out):
        """Rows of ideal counts → bytes: nonlinearity, offset, noise, rounding, saturation."""
        if self.inl_bow_lsb or self.inl_s_lsb:
            x = out / self.top
            out = out + self.inl_bow_lsb * (1 - x * x) + self.inl_s_lsb * 2.598 * x * (1 - x * x)
        offset = np.asarray(self.offset_lsb, np.float32)
        if offset.any():
            out += offset[:, None] if offset.ndim else offset
        if self.noise_lsb:
            # a random stretch of the pool for each row: the rows stay independent of each other
            frames = out.shape[1]
            for row in out:
                if frames <= self._pool.size // 8:
                    at = int(self.random.integers(0, self._pool.size - frames))
                    row += self._pool[at:at + frames] * np.float32(self.noise_lsb)
                else:
                    row += self.random.standard_normal(frames) * self.noise_lsb
        np.rint(out, out=out)
        np.clip(out, -self.top - 1, self.top, out=out)
        return out.T.astype("<i2").tobytes()


def through_clamp(p_w, q_var, lead_deg, crosstalk_w=0.0):
    """(p_w, q_var) as a clamp shows them that is early by `lead_deg` and picks up a little of the voltage."""
    turned = complex(p_w, q_var) * complex(math.cos(math.radians(lead_deg)), -math.sin(math.radians(lead_deg)))
    return turned.real + crosstalk_w, turned.imag


def lose(data, width, at, frames):
    """`data` without `frames` frames from frame `at`: an overrun nobody noticed."""
    step = 2 * width
    return data[:at * step] + data[(at + frames) * step:]


# -- waveforms of the standards, as functions of time ------------------------------------------------------

def sine(rms, f=50.0, lag=0.0, harmonics=()):
    """rms of the fundamental; harmonics: (order, share of the fundamental, lag in radians of the harmonic)."""
    def wave(t):
        w = 2 * np.pi * f * t
        y = np.sin(w - lag)
        for order, share, late in harmonics:
            y = y + share * np.sin(order * (w - lag) - late)
        return rms * SQRT2 * y
    return wave


def half_wave(rms, f=50.0):
    """Half-wave rectified: only the positive halves of a sine of that rms (IEC 62053-21 annex A.1)."""
    return lambda t: np.maximum(rms * SQRT2 * np.sin(2 * np.pi * f * t), 0.0)


def phase_fired(rms, f=50.0, angle=90.0):
    """A sine of that rms, on from `angle` degrees of each half-cycle (a dimmer; annex A.3 at 90°)."""
    def wave(t):
        x = np.mod(f * t, 0.5) * 360.0
        return np.where(x >= angle, rms * SQRT2 * np.sin(2 * np.pi * f * t), 0.0)
    return wave


def bursts(rms, f=50.0, on=2, off=2):
    """Whole cycles on and off (annex A.2)."""
    return lambda t: np.where(np.mod(np.floor(f * t), on + off) < on, rms * SQRT2 * np.sin(2 * np.pi * f * t), 0.0)


def rectifier(peak, f=50.0, width_deg=30.0):
    """A capacitor-input rectifier: short half-sine pulses around the voltage's peaks."""
    def wave(t):
        x = np.mod(f * t, 1.0) * 360.0
        up = np.abs(x - 90.0) < width_deg / 2
        down = np.abs(x - 270.0) < width_deg / 2
        shape = np.cos(np.pi * (np.mod(x, 180.0) - 90.0) / width_deg)
        return peak * np.where(up, shape, np.where(down, -shape, 0.0))
    return wave
