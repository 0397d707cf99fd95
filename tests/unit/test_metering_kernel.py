"""Kernel: its split sums are exact for any samples, checked against plain Python integers and against closed forms."""
from array import array

from prosumer.metering import kernel


def frames(count, seed, extreme=False):
    """Three channels of pseudo-random int16 (a linear congruence: the same everywhere)."""
    out = array("h", [0] * (3 * count))
    for k in range(3 * count):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        out[k] = (32767, -32768)[seed >> 20 & 1] if extreme else ((seed >> 8) & 0xFFFF) - 32768
    return out


def wide(acc, word):
    return (acc[word + 1] << 16) + acc[word]


def plain(samples, g, start, end):
    """The definition, in integers of any size."""
    step, other, this, _, top = g
    s = [0] * 3
    for n in range(start, end):
        x = samples[(n + 1) * step - this]
        s[0] += x
        s[1] += x * x >= top
        s[2] += x * samples[(n + 1) * step - other]
    return s


def check(samples, g, start, end):
    acc = array("i", [5] * kernel.WORDS)
    middle = (start + end) // 2
    kernel.add_dot(start, middle, bytearray(bytes(samples)), g, acc)
    kernel.add_dot(middle, end, bytearray(bytes(samples)), g, acc)
    word = g[3]
    got = [acc[word] - 5, acc[word + 1] - 5, wide(acc, word + 2) - (5 << 16) - 5]
    assert got == plain(samples, g, start, end), got
    assert [acc[k] for k in range(kernel.WORDS) if not word <= k < word + 4] == [5] * (kernel.WORDS - 4)


def test_sums_match_the_definition():
    s = frames(700, 1)
    check(s, array("i", [3, 3, 2, 0, 32000 * 32000]), 50, 700)
    check(s, array("i", [3, 18 * 3, 19 * 3 - 2, 4, 30000 * 30000]), 80, 700)
    check(s, array("i", [3, 60 * 3 - 1, 18 * 3 - 2, 12, 30000 * 30000]), 80, 700)
    check(s, array("i", [3, 1, 1, 8, 1]), 10, 10)


def test_sums_of_full_scale_samples_do_not_wrap():
    check(frames(700, 7, True), array("i", [3, 43 * 3, 2, 0, 32767 * 32767]), 50, 700)


def test_longest_group_at_the_negative_limit():
    """Every product is 2^30: MAX_FRAMES of them need 45 bits, and the low words stay below 2^31."""
    samples = bytearray(b"\x00\x80" * 2 * 256)
    acc = array("i", [0] * kernel.WORDS)
    g = array("i", [2, 4, 1, 0, 32767 * 32767])
    done = 0
    while done < kernel.MAX_FRAMES:
        n = min(250, kernel.MAX_FRAMES - done)
        kernel.add_dot(2, 2 + n, samples, g, acc)
        done += n
    assert wide(acc, 2) == kernel.MAX_FRAMES << 30 and 0 <= acc[2] < 1 << 31
    assert acc[0] == -(kernel.MAX_FRAMES << 15) and acc[1] == kernel.MAX_FRAMES


def test_low_words_at_their_largest():
    """1 * -1 has the low word 0xFFFF: the case that fills the low word fastest."""
    samples = array("h", [1, -1] * 300)
    acc = array("i", [0] * kernel.WORDS)
    done = 0
    while done < kernel.MAX_FRAMES:
        n = min(290, kernel.MAX_FRAMES - done)
        kernel.add_dot(2, 2 + n, samples, array("i", [2, 2, 1, 4, 25]), acc)
        done += n
    assert wide(acc, 6) == -kernel.MAX_FRAMES and 0 <= acc[6] < 1 << 31


def test_crossing_of_a_ramp_lies_where_geometry_says():
    """A triangle of slope 100 a frame: its moving sum over 5 frames has slope 500 and lags 2 frames."""
    rising = [-1000 + 100 * k for k in range(21)]
    samples = array("h", rising + rising[::-1] + rising)
    g = array("i", [1, 0, 5])
    st = array("i", [sum(samples[1:6]) + kernel.BIAS, 0, kernel.BIAS, 1000, 0, 0])
    n = kernel.crossing(6, len(samples), samples, g, st)
    # armed below -1000, the first rise through 0 after that: the sum is zero when its middle frame is, frame 10, so at 12
    assert n == 12 and st[4] == st[5] == 500, (n, st)
    n = kernel.crossing(n + 1, len(samples), samples, g, st)
    assert n == 42 + 12 and st[4] == st[5], (n, st)
    assert kernel.crossing(n + 1, len(samples), samples, g, st) == -1


def test_noise_within_the_hysteresis_does_not_cross():
    samples = array("h", [(-3, 3)[k & 1] for k in range(400)])
    st = array("i", [kernel.BIAS + 3, 0, kernel.BIAS, 10, 0, 0])
    assert kernel.crossing(10, 400, samples, array("i", [1, 0, 5]), st) == -1
