"""A guard on the entropy source, after NIST SP 800-90B: it finds a dead, stuck or badly biased source.

It proves nothing else: a generator that is merely predictable passes. That the bytes come from the chip's own, with its
radio running, is for the hal's `noise` to see to (decision 19); that they are not the same after each restart, `prove` sees. Samples are bytes
that must carry 6 bits at least; a healthy source fails either test once in 2**30 runs of it.
"""
from hashlib import sha256
from micropython import const

from prosumer.errors import Halt

from .seal import wipe

_SAMPLES = const(1024)  # SP 800-90B, section 4.3: a start-up test over at least as many
_REPEATS = const(6)  # section 4.4.1: 1 + 30 / 6 equal samples in a row
_WINDOW = const(512)
_OFTEN = const(31)  # section 4.4.2: 1 + the 1 - 2**-30 quantile of binomial(512, 2**-6)


def check(samples):
    """Halt if the repetition count or the adaptive proportion test refuses the bytes."""
    last = None
    for i, sample in enumerate(samples):
        if sample != last:
            last = sample
            repeats = 0
        repeats += 1
        if repeats >= _REPEATS:
            raise Halt("entropy-repeats")
        if i % _WINDOW == 0:
            first = sample
            count = 0
        count += sample == first
        if count >= _OFTEN:
            raise Halt("entropy-biased")


def draw(source, size):
    """A bytearray of `size` bytes (32 at most) from `source(n) -> bytes`, checked, and condensed by SHA-256 from 1,024."""
    samples = bytearray()
    while len(samples) < _SAMPLES:
        more = source(32)
        if len(more) != 32:
            raise Halt("entropy-short")
        samples += more
        wipe(more)
    check(samples)
    digest = sha256(samples).digest()
    drawn = bytearray(memoryview(digest)[:size])
    wipe(digest)
    wipe(samples)
    return drawn


def prove(source, path):
    """At each boot: Halt if the source fails its tests, or gives what it gave at the boot before, which `path` remembers.

    A generator that was bound wrongly (a pseudo-random one with a fixed seed) passes every statistical test and gives itself
    away by this: at the latest at the restart that ends a provisioning.
    """
    drawn = draw(source, 16)
    try:
        with open(path, "rb") as f:
            if f.read() == drawn:
                raise Halt("entropy-repeats")
    except OSError:
        pass  # the first boot
    try:
        with open(path, "wb") as f:
            f.write(drawn)
    except OSError:
        pass  # a full flash: what stands there is compared with once more
