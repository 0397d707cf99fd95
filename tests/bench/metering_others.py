"""The algorithms of other open meters, written anew from their documentation, in double precision on volts and amperes.

Each gets the true gains and the best phase setting it allows; what an ADC read by a busy loop loses is not held against them.
"""
import math

import numpy as np


def emonlib(v, i, lag_samples):
    """emonLib `calcVI(20, …)`: slow low-pass for the offset, V shifted between two samples, mean over 20 half-cycles."""
    from scipy.signal import lfilter

    def filtered(x):
        offset = lfilter([1 / 1024], [1, -(1 - 1 / 1024)], x, zi=[x[:160].mean() * (1 - 1 / 1024)])[0]
        return x - offset

    fv, fi = filtered(v), filtered(i)
    shifted = fv[:-1] + (1 + lag_samples) * (fv[1:] - fv[:-1])
    p = shifted * fi[1:]
    above = v[1:] > v.mean()
    edges = np.nonzero(above[1:] != above[:-1])[0]
    runs = [p[a:b].mean() for a, b in zip(edges[::20], edges[20::20], strict=False)]
    return float(np.mean(runs))


def emonlibcm(v, i, lag_samples, theta):
    """emonLibCM: continuous sums of whole cycles (counted by sign changes), the phase from V and the last V, offset at the end."""
    above = v > v.mean()
    ups = np.nonzero(above[1:] & ~above[:-1])[0] + 1
    a, b = max(ups[0], 1), ups[-1]
    n = b - a
    pa, pb = (v[a:b] * i[a:b]).sum(), (v[a - 1:b - 1] * i[a:b]).sum()
    x = -lag_samples  # V is needed later than it was sampled
    y = math.sin(x * theta) / math.sin(theta)
    total = pa * (math.cos(x * theta) - y * math.cos(theta)) + pb * y
    return float(total / n - v[a:b].mean() * i[a:b].mean())


def ct_clamp(i, seconds_of_sample, rate):
    """ESPHome `ct_clamp`: RMS of samples over 200 ms, a sample that equals the last one is left out. Amperes, no power."""
    out = []
    size = round(seconds_of_sample * rate)
    for at in range(0, len(i) - size + 1, size):
        x = i[at:at + size]
        x = x[np.r_[True, x[1:] != x[:-1]]]
        out.append(math.sqrt(max(0.0, (x * x).mean() - x.mean() ** 2)))
    return float(np.mean(out))
