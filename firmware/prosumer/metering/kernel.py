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

# Words of a channel's sums: four for each of its dot products: sum I, clipped samples, low and high word of the product
WORDS = const(16)
BIAS = const(1 << 24)  # keeps the filter's value positive in memory: 511 * 32768 < 2^24


@micropython.viper
def add_dot(start: int, end: int, p: ptr16, g: ptr32, acc: ptr32):
    """Add one channel times another, frames `start` ≤ n < `end` of `p`, to four words of `acc`: sums, clipped, low, high.

    g: channels in a frame; how many samples before the end of its frame the other channel lies, and this one; first word in `acc`;
    square of the clipping level. More than a frame is a delay: the frames before `start` that it reaches must exist. The arguments that
    the loop needs come first, as that is how viper hands out its registers; words are read without a sign where `int` has 64 bits."""
    step = int(g[0])
    other = int(g[2]) - int(g[1])
    start = (start + 1) * step - int(g[2])
    end = (end + 1) * step - int(g[2])
    s = clip = low = high = 0
    while start < end:
        x = (int(p[start]) ^ 0x8000) - 0x8000
        s += x
        if x * x >= int(g[4]):
            clip += 1
        x *= (int(p[start + other]) ^ 0x8000) - 0x8000
        low += x & 0xFFFF
        high += x >> 16
        start += step
    # added to the low 32 bits of a word, which is the same with and without a sign
    n = int(g[3])
    acc[n] = int(acc[n]) + s
    acc[n + 1] = int(acc[n + 1]) + clip
    acc[n + 2] = int(acc[n + 2]) + low
    acc[n + 3] = int(acc[n + 3]) + high


@micropython.viper
def crossing(start: int, end: int, p: ptr16, g: ptr32, st: ptr32) -> int:
    """Where, from frame `start` on, the fundamental of the voltage first rises through its level, or -1; in samples of `p`, whose
    number divided by the channels is the frame's.

    The fundamental is a moving sum of the voltage over about a period of the 5th harmonic: linear phase, no
    settling. g: channels in a frame, place, length of the sum in samples of the buffer. The crossing lies
    st[4]/st[5] of a frame after the frame before; a new one needs the sum to have gone below level - hysteresis.
    st: sum + BIAS, armed, level + BIAS, hysteresis, and the two words of the fraction."""
    step = int(g[0])
    start = start * step + int(g[1])
    end = end * step + int(g[1])
    y = int(st[0])
    low = int(st[2]) - int(st[3])
    while start < end:
        # both samples are offset by 2^15, which cancels in the difference
        d = (int(p[start]) ^ 0x8000) - (int(p[start - int(g[2])]) ^ 0x8000)
        y += d
        if int(st[1]):
            if y >= int(st[2]):
                st[4] = int(st[2]) + d - y
                st[5] = d
                st[0] = y
                st[1] = 0
                return start
        elif y < low:
            st[1] = 1
        start += step
    st[0] = y
    return -1
