"""Reading → signed reading: each names the hash of the one before, and no slot is ever signed twice.

Kept in flash: the last reading and those a block has not settled yet, saved before they are published.
"""
from prosumer import durable
from prosumer.codec import Cursor, list_pieces
from prosumer.records import FLAG_GAP, Reading

_KEEP = 8


class ReadingChain:
    def __init__(self, path, genesis, member, signer, registers):
        """`registers`: (import, export, generation) mWh as restored at boot."""
        self.path, self.genesis, self.member, self.signer = path, genesis, member, signer
        self.readings = []
        self.seq, self.head, self.last_slot = 0, bytes(32), -1
        self.base = self.boot = registers
        saved = durable.load(path)
        if saved:
            self.readings = Cursor(saved).records(Reading, 255)
            last = self.readings[-1]
            self.seq, self.head, self.last_slot = last.seq + 1, last.hash(genesis.feeder_id), last.slot
            self.base = (last.import_mwh, last.export_mwh, last.generation_mwh)

    def extend(self, slot, registers, uncertainty_mwh, flags, accuracy, calibration):
        """The signed reading of `slot`, durable; None if this slot has one already.

        Its interval runs from the previous reading if that closed the slot before, else from boot: energy
        metered in between stays in the registers and is settled as a gap, at the tariff.
        """
        if slot <= self.last_slot:
            return None
        base = self.base
        if self.last_slot != slot - 1:
            base = self.boot
            flags |= FLAG_GAP
        interval = [min(now - then, 0xFFFFFFFF) for now, then in zip(registers, base)]
        r = Reading(member=self.member, slot=slot, seq=self.seq, previous=self.head,
                    import_mwh=registers[0], export_mwh=registers[1], generation_mwh=registers[2],
                    interval_import_mwh=interval[0], interval_export_mwh=interval[1], interval_generation_mwh=interval[2],
                    uncertainty_mwh=min(uncertainty_mwh, 0xFFFFFFFF), flags=flags, accuracy=accuracy, calibration=calibration)
        r.signature = self.signer.sign(r.message(self.genesis.feeder_id))
        self.readings = (self.readings + [r])[-_KEEP:]
        durable.save(self.path, *list_pieces(self.readings))
        self.seq, self.head, self.last_slot = r.seq + 1, r.hash(self.genesis.feeder_id), slot
        self.base = self.boot = registers
        return r

    def rebase(self, registers):
        """A slot nobody settles ended (before the feeder's start): the next interval begins here."""
        self.base = self.boot = registers

    def settled(self, next_seq):
        """The agreed account has come to `next_seq`: keep the last reading, which the next one names, and what is newer."""
        self.readings = [r for r in self.readings if r.seq >= next_seq] or self.readings[-1:]

    def unsettled(self, next_seq):
        return [r for r in self.readings if r.seq >= next_seq]
