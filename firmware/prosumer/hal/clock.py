"""The meter's clock: set by SNTP (RFC 4330) before anything starts, and from then on it never jumps.

What a time server says later is slewed in at 1 ms a second; a server that is further off than a bad crystal explains is not believed.
"""
import struct

from micropython import const

from prosumer.errors import Reject

_UNIX_FROM_1900 = 2208988800
LEAST_MS = 1735689600000  # 2025-01-01: no clock before it is right
_SLEW_MS = const(1000)  # for every ms put right
_DOUBT_MS = const(2000)  # a server may be off by this, and by 1 ms more for each 2 s since the last good answer
_SIZE = const(48)


def request(nonce):
    """48 bytes to the server's port 123: version 4, mode 3. `nonce`: 8 random bytes that a true answer brings back."""
    return b"\x23" + bytes(39) + nonce


def answer_ms(packet, nonce):
    """Unix ms of the server's clock when it answered. Reject: time-forged, time-server-unsure, time-before-2025."""
    if len(packet) < _SIZE or packet[0] & 7 != 4 or packet[24:32] != nonce:
        raise Reject("time-forged")
    if packet[0] >> 6 == 3 or not 0 < packet[1] < 16:
        raise Reject("time-server-unsure")  # not synchronised itself, or a kiss of death
    seconds, fraction = struct.unpack_from(">II", packet, 40)
    if seconds < 0x80000000:
        seconds += 1 << 32  # from 2036 on
    ms = (seconds - _UNIX_FROM_1900) * 1000 + (fraction * 1000 >> 32)
    if ms < LEAST_MS:
        raise Reject("time-before-2025")
    return ms


class Clock:
    """Counts `ticks_ms()` from `unix_ms`. To be asked at least once in six days, before the ticks wrap twice."""

    def __init__(self, unix_ms, ticks_ms, ticks_diff):
        self._ms = self._good_ms = unix_ms
        self._ticks_ms, self._ticks_diff = ticks_ms, ticks_diff
        self._last = ticks_ms()
        self._owed = self._rest = 0
        self.refused = 0  # answers that were not believed

    def now_ms(self):
        now = self._ticks_ms()
        passed = self._ticks_diff(now, self._last)
        self._last = now
        self._ms += passed
        if self._owed:
            steps, self._rest = divmod(self._rest + passed, _SLEW_MS)
            step = min(steps, max(-steps, self._owed))
            self._owed -= step
            self._ms += step
        return self._ms

    def correct(self, unix_ms):
        """A server's answer; False if it is not believed."""
        off = unix_ms - self.now_ms()
        if abs(off) > _DOUBT_MS + (self._ms - self._good_ms) // 2000:
            self.refused += 1
            return False
        self._owed, self._good_ms = off, self._ms
        return True
