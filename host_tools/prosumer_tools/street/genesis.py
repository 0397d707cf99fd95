"""The grid operator's side: a key, the signed genesis of a feeder, signed capacity envelopes."""
import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_TAG = b"prosumer/genesis/v2\0"
_ENVELOPE_TAG = b"prosumer/envelope/v1\0"
_TRANSFER_TAG = b"prosumer/transfer/v1\0"
ROLE_GENERATES, ROLE_STORES = 1, 2
DELTA_MS = 2000       # bound on the network's delay that the agreement's timers use
LOSS_PER_MILLE = 20   # of what is traded inside the street, where no feeder-head meter says better
PENALTY_UCR = 10_000  # for an order that was sealed and is not shown
CREDIT_UCR = 50_000_000  # how far an account may fall before orders are refused
CORRECTION_S = 86400  # a reading may come so late; then its slot is settled by rule


class Operator:
    """Holds the operator's key. Nothing here takes part in clearing, signing readings or agreeing."""

    def __init__(self, seed=None):
        self._key = Ed25519PrivateKey.from_private_bytes(seed) if seed else Ed25519PrivateKey.generate()
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, message):
        return self._key.sign(message)

    def genesis(self, street, keys, start_s, utc_offset_s=0):
        """Signed genesis record (bytes). `keys`: {home name: 32-byte public key}; members are numbered as the homes stand."""
        tariff, slot_s = street.tariff, street.slot_minutes * 60
        limits = [_mwh(kw, slot_s) for kw in (street.feeder.import_limit_kw, street.feeder.export_limit_kw)]
        body = struct.pack(">BH8s32sIHHIIIIIHIIIIIBh32s", 10, 0, bytes(8), bytes(32), start_s, slot_s, DELTA_MS,
                           tariff.retail_ucr_per_kwh, tariff.feed_in_ucr_per_kwh, 0, 4 * tariff.retail_ucr_per_kwh,
                           tariff.local_fee_ucr_per_kwh, LOSS_PER_MILLE, PENALTY_UCR, *limits, CREDIT_UCR, CORRECTION_S, 0, utc_offset_s // 60, self.public)
        name = street.name.encode()[:255]
        body += bytes([len(name)]) + name + bytes([0, len(street.homes)])
        for home in street.homes:
            roles = (ROLE_GENERATES if home.pv_kwp else 0) | (ROLE_STORES if home.battery else 0)
            body += keys[home.name] + bytes([roles, min(home.fuse_a, 255), 1])
        return body + self._key.sign(_TAG + body)

    def envelope(self, feeder_id, first_slot, last_slot, import_limit_mwh, export_limit_mwh):
        body = struct.pack(">BIIII", 4, first_slot, last_slot, import_limit_mwh, export_limit_mwh)
        return body + self._key.sign(_ENVELOPE_TAG + feeder_id + body)

    def payment(self, feeder_id, seq, member, ucr, note):
        """Money that the operator had from a member (or, negative, paid it), to be booked. `note`: at most 16 bytes."""
        body = struct.pack(">BBBIBQ16s", 11, 255, 2 if ucr > 0 else 3, seq, member, abs(ucr), note.encode())
        return body + self._key.sign(_TRANSFER_TAG + feeder_id + body)


def feeder_id(genesis):
    """8 bytes that stand under every signature on this feeder."""
    return hashlib.sha256(_TAG + genesis[:-64]).digest()[:8]


def _mwh(kilowatts, slot_s):
    return round(kilowatts * 1e6) * slot_s // 3600
