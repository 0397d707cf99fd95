"""The metering kernel: running sums over samples, in integers that are the same bit for bit on every machine.

Input is a buffer of frames: signed 16-bit little-endian samples of all channels taken together, voltages
first. Nothing here divides, allocates or knows a unit; `meter.py` turns sums into watts.

Every intermediate value fits 32 signed bits for any input and up to `MAX_FRAMES` frames a group, so the
same sums come out where viper's `int` has 32 bits (xtensawin, rv32imc) and where it has 64 (x64). A product
of two samples needs 31 bits; a sum of products is kept as two words, low 16 bits and the rest:
    sum = (acc[HI] << 16) + acc[LO]
Samples are sign-extended when loaded, because viper's `ptr16` reads unsigned.

Integration in this form (whole cycles, V[n-1]*I for the phase, offsets removed at the end) follows
R. Wall's and A. Moore's work for OpenEnergyMonitor (emonLibCM, emon32).
"""
import micropython
from micropython import const

MAX_FRAMES = const(32767)  # of one group: 32767 * 0xFFFF < 2^31

# Words of a channel's sums: sum I, clipped samples, then low and high word of I*I, V[n]*I, V[n-1]*I, V[n-q]*I
WORDS = const(10)
BIAS = const(1 << 24)  # keeps the filter's value positive in memory: 511 * 32768 < 2^24


@micropython.viper
def add_pair(buf, g: ptr32, acc: ptr32, start: int, end: int):
    """Add frames `start` ≤ n < `end` of one voltage-current pair to `acc` (a voltage is paired with itself).

    g: channels in a frame, voltage's place, voltage's delay, current's place, current's delay, quarter of a
    cycle, square of the clipping level; delays and quarter in samples of the buffer, that is already times the channels.
    The frames before `start` that the delays reach, and one more, must exist."""
    p = ptr16(buf)
    step = int(g[0])
    v = start * step + int(g[1]) - int(g[2])
    i = start * step + int(g[3]) - int(g[4])
    back = int(g[5])
    top = int(g[6])
    s = clip = l2 = h2 = l0 = h0 = l1 = h1 = lq = hq = 0
    before = (int(p[v - step]) ^ 0x8000) - 0x8000
    n = end - start
    while n > 0:
        x = (int(p[i]) ^ 0x8000) - 0x8000
        now = (int(p[v]) ^ 0x8000) - 0x8000
        s += x
        y = x * x
        if y >= top:
            clip += 1
        l2 += y & 0xFFFF
        h2 += y >> 16
        y = x * now
        l0 += y & 0xFFFF
        h0 += y >> 16
        y = x * before
        l1 += y & 0xFFFF
        h1 += y >> 16
        y = x * ((int(p[v - back]) ^ 0x8000) - 0x8000)
        lq += y & 0xFFFF
        hq += y >> 16
        before = now
        v += step
        i += step
        n -= 1
    # added to the low 32 bits of a word, which is the same with and without a sign
    acc[0] = int(acc[0]) + s
    acc[1] = int(acc[1]) + clip
    acc[2] = int(acc[2]) + l2
    acc[3] = int(acc[3]) + h2
    acc[4] = int(acc[4]) + l0
    acc[5] = int(acc[5]) + h0
    acc[6] = int(acc[6]) + l1
    acc[7] = int(acc[7]) + h1
    acc[8] = int(acc[8]) + lq
    acc[9] = int(acc[9]) + hq


@micropython.viper
def crossing(buf, g: ptr32, st: ptr32, start: int, end: int) -> int:
    """The first frame from `start` at which the fundamental of the voltage has risen through its level, or -1.

    The fundamental is a moving sum of the voltage over about a period of the 5th harmonic: linear phase, no
    settling. g: channels in a frame, place, length of the sum in samples of the buffer. The crossing lies
    st[4]/st[5] of a frame after the frame before; a new one needs the sum to have gone below level - hysteresis.
    st: sum + BIAS, armed, level + BIAS, hysteresis, and the two words of the fraction."""
    p = ptr16(buf)
    step = int(g[0])
    v = start * step + int(g[1])
    back = int(g[2])
    y = int(st[0])
    armed = int(st[1])
    level = int(st[2])
    low = level - int(st[3])
    n = start
    while n < end:
        # both samples are offset by 2^15, which cancels in the difference
        d = (int(p[v]) ^ 0x8000) - (int(p[v - back]) ^ 0x8000)
        y += d
        if armed:
            if y >= level:
                st[4] = level + d - y
                st[5] = d
                st[0] = y
                st[1] = 0
                return n
        elif y < low:
            armed = 1
        v += step
        n += 1
    st[0] = y
    st[1] = armed
    return -1
