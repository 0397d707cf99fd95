"""The feeder's genesis: who trades here, under which tariff, and whose signature counts; and how it is amended.

    Genesis  0a number:2 feeder:8 previous:32 start_s:4 slot_s:2 delta_ms:2 retail:4 feed_in:4 price_min:4 price_max:4 local_fee:4
             loss_per_mille:2 penalty_ucr:4 import_limit_mwh:4 export_limit_mwh:4 credit_limit_ucr:4 correction_s:4 accuracy
             utc_offset_min:2 (signed) operator:32 name (length, text)
             bands (count, then days from_min:2 to_min:2 retail:4 feed_in:4 each) members (count, then key:32 roles fuse_a phase each) sig:64

Signed by the grid operator. `feeder_id` = first 8 bytes of SHA-256 over tag and body of number 0, where `feeder` and `previous`
are zero; it stands under every other signature, so nothing signed here is worth anything on another feeder. An
*amendment* is a whole genesis with the next number, the same feeder and the hash of the one it replaces.

Bands are the tariff calendar: on local weekdays (bit 0: Monday) between two minutes of the day another retail and feed-in price
holds; the first band that fits counts, else the flat tariff. Local time is Unix time plus a fixed offset.
"""
import struct

from micropython import const

from prosumer.codec import SIGNATURE_BYTES, Cursor, sha256
from prosumer.errors import Reject
from prosumer.identity.ed25519 import check_public_key, verify
from prosumer.records import MAX_MEMBERS, ROLE_GENERATES, ROLE_HEAD, ROLE_LEFT, ROLE_STORES

_LAYOUT = const(">BH8s32sIHHIIIIIHIIIIIBh32s")
_NUMBERS = const(("number", "feeder_id", "previous", "start_s", "slot_s", "delta_ms", "retail_ucr_per_kwh", "feed_in_ucr_per_kwh",
                  "min_price_ucr_per_kwh", "max_price_ucr_per_kwh", "local_fee_ucr_per_kwh", "loss_per_mille", "penalty_ucr",
                  "import_limit_mwh", "export_limit_mwh", "credit_limit_ucr", "correction_s", "accuracy", "utc_offset_min", "operator"))
TAG = b"prosumer/genesis/v2\0"
NO_LIMIT = const(0xFFFFFFFF)  # credit_limit_ucr: whoever signed this genesis takes the risk
_MOST_BANDS = const(8)
_DAY_MIN = const(1440)


class Genesis:
    """Parsed and verified; numbers are attributes named as in _NUMBERS. Also the flat tariff, as clearing and settlement take it."""

    def __init__(self, data):
        """Raises Reject; `raw` are its bytes."""
        self.raw = data
        cursor = Cursor(data)
        head = struct.unpack(_LAYOUT, cursor.take(struct.calcsize(_LAYOUT)))
        if head[0] != 10:
            raise Reject("wrong-type")
        for name, value in zip(_NUMBERS, head[1:]):
            setattr(self, name, value)
        try:
            self.name = cursor.take(cursor.uint(1)).decode()
        except UnicodeError:
            raise Reject("bad-name")
        self.bands = [struct.unpack(">BHHII", cursor.take(13)) for _ in range(cursor.uint(1))]
        self.n = cursor.uint(1)
        if not 1 <= self.n <= MAX_MEMBERS:
            raise Reject("too-many-members")
        self.members = [(cursor.take(32), cursor.uint(1), cursor.uint(1), cursor.uint(1)) for _ in range(self.n)]
        body = data[:cursor.at]
        signature = cursor.take(SIGNATURE_BYTES)
        cursor.end()
        if not verify(self.operator, TAG + body, signature):
            raise Reject("bad-operator-signature")
        self._check()
        if not self.number:
            if self.feeder_id + self.previous != bytes(40):
                raise Reject("not-a-successor")
            self.feeder_id = sha256(TAG, body)[:8]
        self.hash = sha256(TAG, body, signature)

    def _check(self):
        keys = [m[0] for m in self.members]
        if len(set(keys)) != self.n:
            raise Reject("duplicate-key")
        for key in keys:
            check_public_key(key)
        if not (60 <= self.slot_s <= 3600 and self.delta_ms and self.loss_per_mille <= 1000 and self.max_price_ucr_per_kwh < 1 << 30
                and self.slot_s <= self.correction_s <= 172800 and self.accuracy <= 3 and -_DAY_MIN < self.utc_offset_min < _DAY_MIN):
            raise Reject("genesis-out-of-range")
        if len(self.bands) > _MOST_BANDS:
            raise Reject("too-many-bands")
        for days, start, end, retail, feed_in in self.bands + [(1, 0, 1, self.retail_ucr_per_kwh, self.feed_in_ucr_per_kwh)]:
            if not (1 <= days <= 127 and start < end <= _DAY_MIN):
                raise Reject("bad-band")
            if not self.min_price_ucr_per_kwh <= feed_in <= retail <= self.max_price_ucr_per_kwh:
                raise Reject("tariff-out-of-order")
        heads = 0
        for _, roles, _, _ in self.members:
            if roles & ~(ROLE_GENERATES | ROLE_STORES | ROLE_HEAD | ROLE_LEFT) or roles & ROLE_HEAD and roles & (ROLE_GENERATES | ROLE_STORES):
                raise Reject("bad-roles")
            heads += roles & (ROLE_HEAD | ROLE_LEFT) == ROLE_HEAD
        if heads > 1 or heads and self.loss_per_mille:
            raise Reject("bad-roles")  # one says what is lost, and then no rule of thumb does
        if self._fuses() >> 32:
            raise Reject("fuses-too-large")  # a header has 32 bits for what is traded

    def pack(self):
        return self.raw

    def pieces(self):
        return [self.raw]

    def check_successor(self, new, skip=False):
        """Reject unless `new` amends this one: directly, or (`skip`) perhaps with others between.

        Neither operator, start nor slot length can be amended, and nobody gets the number of somebody who left.
        """
        if new.number <= self.number:
            raise Reject("replayed")
        if (new.feeder_id, new.operator, new.start_s, new.slot_s) != (self.feeder_id, self.operator, self.start_s, self.slot_s) \
                or new.n < self.n or not skip and (new.number != self.number + 1 or new.previous != self.hash):
            raise Reject("not-a-successor")
        for old, now in zip(self.members, new.members):
            if old[1] & ROLE_LEFT and old[0] != now[0]:
                raise Reject("not-a-successor")

    # -- time

    def slot_at(self, now_ms):
        """Slot that delivers at this Unix time; -1 and less before the start."""
        return (now_ms // 1000 - self.start_s) // self.slot_s

    def start_ms(self, slot):
        return (self.start_s + slot * self.slot_s) * 1000

    def gate_ms(self, slot):
        """When block `slot` is proposed: max(20 s, L/10) before slot+1 starts."""
        return self.start_ms(slot + 1) - max(20000, self.slot_s * 100)

    def _local(self, slot):
        """(days since 1970, minute of the day) where the feeder is, when a slot begins."""
        return divmod((self.start_s + slot * self.slot_s) // 60 + self.utc_offset_min, _DAY_MIN)

    def tariff(self, slot):
        """The tariff of a slot: retail, feed-in, bounds of prices, fee and loss."""
        if self.bands:
            day, minute = self._local(slot)
            for days, start, end, retail, feed_in in self.bands:
                if days >> (day + 3) % 7 & 1 and start <= minute < end:  # 1 January 1970 was a Thursday
                    return self._with(retail, feed_in)
        return self

    def dearest(self):
        """The highest retail and the lowest feed-in price of the calendar, for energy whose slot nobody knows."""
        if not self.bands:
            return self
        return self._with(max([self.retail_ucr_per_kwh] + [b[3] for b in self.bands]), min([self.feed_in_ucr_per_kwh] + [b[4] for b in self.bands]))

    def _with(self, retail, feed_in):
        from prosumer.market.book import Tariff
        return Tariff(retail, feed_in, self.min_price_ucr_per_kwh, self.max_price_ucr_per_kwh, self.local_fee_ucr_per_kwh, self.loss_per_mille)

    def month(self, slot):
        """Months since the year 0, of the local calendar; from days since 1970 in eras of 400 years that begin in March."""
        day = self._local(slot)[0] + 719468
        era, day = divmod(day, 146097)
        year = (day - day // 1460 + day // 36524 - day // 146096) // 365
        month = (5 * (day - (365 * year + year // 4 - year // 100)) + 2) // 153  # 0: March
        return (400 * era + year) * 12 + month + 2

    # -- wires

    def fuse_mwh(self, member):
        """What the member's fuse lets through in one slot: 230 V per phase. At the feeder's head: what all of them do."""
        _, roles, fuse_a, phase = self.members[member]
        if roles & ROLE_HEAD:
            return self._fuses()
        return fuse_a * 230 * (3 if phase == 0 else 1) * self.slot_s * 1000 // 3600

    def _fuses(self):
        return sum([self.fuse_mwh(m) for m in range(self.n) if not self.members[m][1] & ROLE_HEAD])
