"""The feeder's genesis: who trades here, under which tariff, and whose signature counts.

    Genesis  0a start_s:4 slot_s:2 delta_ms:2 retail:4 feed_in:4 price_min:4 price_max:4 local_fee:4
             loss_per_mille:2 penalty_ucr:4 import_limit_mwh:4 export_limit_mwh:4 operator:32
             name (length, text) members (count, then key:32 roles fuse_a phase each) sig:64

Signed by the grid operator. `feeder_id` = first 8 bytes of SHA-256 over tag and body; it stands under every
other signature, so nothing signed here is worth anything on another feeder.
"""
import struct

from prosumer.codec import SIGNATURE_BYTES, Cursor, sha256
from prosumer.errors import Reject
from prosumer.identity.ed25519 import PreparedKey, check_public_key, verify

_LAYOUT = ">BIHHIIIIIHIII32s"
_NUMBERS = ("start_s", "slot_s", "delta_ms", "retail_ucr_per_kwh", "feed_in_ucr_per_kwh", "min_price_ucr_per_kwh",
            "max_price_ucr_per_kwh", "local_fee_ucr_per_kwh", "loss_per_mille", "penalty_ucr",
            "import_limit_mwh", "export_limit_mwh")
TAG = b"prosumer/genesis/v1\0"


class Genesis:
    """The parsed and verified genesis; numbers are attributes named as in the layout."""

    def __init__(self, data):
        cursor = Cursor(data)
        head = struct.unpack(_LAYOUT, cursor.take(struct.calcsize(_LAYOUT)))
        if head[0] != 10:
            raise Reject("wrong-type")
        for name, value in zip(_NUMBERS, head[1:]):
            setattr(self, name, value)
        self.operator = head[13]
        self.name = cursor.take(cursor.uint(1)).decode()
        n = cursor.uint(1)
        if not 1 <= n <= 64:
            raise Reject("too-many-members")
        self.members = [(cursor.take(32), cursor.uint(1), cursor.uint(1), cursor.uint(1)) for _ in range(n)]
        body = data[:cursor.at]
        signature = cursor.take(SIGNATURE_BYTES)
        cursor.end()
        if not verify(self.operator, TAG + body, signature):
            raise Reject("bad-operator-signature")
        keys = [m[0] for m in self.members]
        if len(set(keys)) != n:
            raise Reject("duplicate-key")
        for key in keys:
            check_public_key(key)
        if not (60 <= self.slot_s <= 3600 and self.delta_ms and self.min_price_ucr_per_kwh <= self.feed_in_ucr_per_kwh
                <= self.retail_ucr_per_kwh <= self.max_price_ucr_per_kwh < 1 << 30 and self.loss_per_mille <= 1000):
            raise Reject("tariff-out-of-order")
        self.n = n
        self.feeder_id = sha256(TAG, body)[:8]
        self.hash = sha256(TAG, body, signature)

    def slot_at(self, now_ms):
        """Slot that delivers at this Unix time; -1 and less before the start."""
        return (now_ms // 1000 - self.start_s) // self.slot_s

    def start_ms(self, slot):
        return (self.start_s + slot * self.slot_s) * 1000

    def gate_ms(self, slot):
        """When block `slot` is proposed: max(20 s, L/10) before slot+1 starts."""
        return self.start_ms(slot + 1) - max(20000, self.slot_s * 100)

    def fuse_mwh(self, member):
        """What the member's fuse lets through in one slot: 230 V per phase."""
        _, _, fuse_a, phase = self.members[member]
        return fuse_a * 230 * (3 if phase == 0 else 1) * self.slot_s * 1000 // 3600


class Members:
    """Verifies what members sign, with a key table per neighbour made once and kept in flash (`folder`)."""

    def __init__(self, genesis, folder=None):
        """Without a folder the tables stay in memory, 3 KiB a member."""
        self.genesis = genesis
        self.operator = PreparedKey(genesis.operator, folder and folder + "operator")
        self.keys = [PreparedKey(m[0], folder and "%skey%d" % (folder, i)) for i, m in enumerate(genesis.members)]

    def check(self, member, message, signature):
        """Raises Reject('not-a-member'|'bad-signature')."""
        if not 0 <= member < self.genesis.n:
            raise Reject("not-a-member")
        if len(signature) != SIGNATURE_BYTES or not self.keys[member].verify(message, signature):
            raise Reject("bad-signature")

    def check_record(self, record):
        self.check(record.member, record.message(self.genesis.feeder_id), record.signature)

    def check_operator(self, record):
        if not self.operator.verify(record.message(self.genesis.feeder_id), record.signature):
            raise Reject("bad-operator-signature")

    def quorum(self):
        n = self.genesis.n
        return n - (n - 1) // 3

    def check_certificate(self, certificate, kind, message):
        """`message`: the bytes each member of the certificate signed."""
        if certificate.kind != kind or len(certificate.signatures) < self.quorum():
            raise Reject("no-quorum")
        for m in certificate.signatures:
            self.check(m, message, certificate.signatures[m])
