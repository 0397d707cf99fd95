"""From sums over whole cycles to electrical quantities, in integers.

Angles are in radians times 2^30, factors times 2^30. The worst error of the series is below 2^-28 for |x| < 0.9.
"""
from micropython import const

ONE = const(1 << 30)
_TWO_PI = const(6746518852)  # 2*pi * 2^30
_HALF_PI = const(1686629713)


def isqrt(n):
    """Largest integer whose square is not above n."""
    if n <= 0:
        return 0
    x = 1
    m = n
    while m:
        m >>= 2
        x <<= 1
    while True:
        y = (x + n // x) >> 1
        if y >= x:
            return x
        x = y


def sin_cos(x):
    """(sin, cos) of |x| < 0.9 rad, by the series."""
    z = x * x >> 30
    s = ONE - z // 72
    s = ONE - (z * s >> 30) // 42
    s = ONE - (z * s >> 30) // 20
    s = ONE - (z * s >> 30) // 6
    c = ONE - z // 90
    c = ONE - (z * c >> 30) // 56
    c = ONE - (z * c >> 30) // 30
    c = ONE - (z * c >> 30) // 12
    c = ONE - (z * c >> 30) // 2
    return x * s >> 30, c


def step_angle(cycles, length, unit):
    """The fundamental's angle from one frame to the next: `cycles` took `length`/`unit` frames."""
    return _TWO_PI * cycles * unit // length


def active_reactive(r0, r1, rq, theta, x, quarter):
    """(P, Q), in the unit of the sums, from the correlations of a current with its voltage.

    r0, r1, rq: sums of V[n]*I, V[n-1]*I, V[n-quarter]*I where the current belongs to the time n - x
    (0 ≤ x ≤ 1 frame, times 2^30); theta: angle of a frame. V[n] and V[n-1] are weighed so that the fundamental is met
    exactly in phase and size: a = sin((1-x)theta)/sin(theta), b = sin(x theta)/sin(theta). A correlation at the delay d is
    P cos(d theta) + Q sin(d theta), which gives Q; Q > 0 is inductive when P is drawn (IEC 62053-23)."""
    one = sin_cos(theta)[0]
    b = sin_cos(theta * x >> 30)[0]
    a = sin_cos(theta * (ONE - x) >> 30)[0]
    p = (a * r0 + b * r1) // one
    cos, sin = sin_cos((theta * ((quarter << 30) - x) >> 30) - _HALF_PI)  # cos(y) = -sin(y - pi/2), sin(y) = cos(y - pi/2)
    return p, ((rq << 30) + p * cos) // sin


def nearest(value, unit):
    """`value`/`unit` rounded to the nearest integer; 0 when there is no unit."""
    return (value + unit // 2) // unit if unit else 0
