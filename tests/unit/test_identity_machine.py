"""The inverse and the square root's power against MicroPython's own pow, at the edges and across the range."""
from prosumer.identity.curve import inverses
from prosumer.identity.machine import P, inverse, root_power


def _samples(n):
    x = 1
    for _ in range(n):
        x = (x * 0x5851F42D4C957F2D14057B7EF767814F + 0x14057B7EF767814F5851F42D4C957F2D) & 2**256 - 1
        yield x * x % P


def test_inverse():
    edges = [0, 1, 2, 3, P - 1, P - 2, P, P + 1, 2**255 - 1, 2**30, 2**30 - 1, 2**31, (P + 1) // 2, -1, -(2**260), 2**272 - 1]
    for x in edges + [1 << i for i in range(0, 255, 17)]:
        assert inverse(x) == pow(x % P, P - 2, P)
    for x in _samples(200):
        assert inverse(x) * x % P == 1


def test_root_power():
    for x in [0, 1, 2, P - 1, P - 2, 2**255 - 1] + list(_samples(20)):
        assert root_power(x) % P == pow(x, (P - 5) // 8, P)


def test_shared_inversion():
    values = [1, P - 1, 2] + list(_samples(5))
    assert inverses(values) == [inverse(v) for v in values]
    assert inverses([]) == []
