"""Runs on the MicroPython Unix port: plays a street on paper (tests/unit/paper.py) and writes it as a RUN folder.

    micropython -X heapsize=4M tests/host/paper_street.py OUT [short]

Eight meters, twenty slots, with what a day may bring: a narrow envelope, a silent proposer, an order not shown, a faulty
reading, a meter that is off and comes back, a meter that cannot send, two void slots. Short: four meters, six slots.
"""
import json
import os
import struct
import sys

here = __file__.rsplit("/", 1)[0]
sys.path.insert(0, here + "/../../firmware")
sys.path.insert(0, here + "/../unit")

import paper
from prosumer.records import Header

NAMES = ("mimosa", "olivier", "figuier", "lavande", "romarin", "genet", "thym", "cyprès")


def write(path, *pieces):
    with open(path, "wb") as f:
        for p in pieces:
            f.write(p)


class Recorder:
    def __init__(self, street, out):
        self.street, self.out, self.done = street, out, []
        street.forget = lambda slot: None

    def keep(self):
        """Write what became final; a block that is final only by a later one has no certificate."""
        s = self.street
        for slot in sorted(s.finals):
            if slot in self.done:
                continue
            self.done.append(slot)
            header = Header.parse(list(s.finals[slot])[0])
            digest = header.hash(s.genesis.feeder_id)
            raw, votes = s.proposals[digest], s.finalize.get(digest, {})
            certificate = b""
            if len(votes) >= s.members.quorum():
                certificate = struct.pack(">BBI32sQ", 7, 1, header.iteration, digest, sum([1 << m for m in votes]))
                certificate += b"".join([votes[m] for m in sorted(votes)])
            write("%s/records/block-%05d.bin" % (self.out, slot), struct.pack(">I", len(raw)), raw, certificate)

    def rings(self):
        for meter, name in zip(self.street.meters, NAMES):
            ring = meter.node.ring
            headers = [h for _, h in ring.iterate(ring.first, ring.next)]
            write("%s/records/meter-%s.bin" % (self.out, name), struct.pack(">I", len(headers)), *headers)


def main(out, short):
    for folder in (out, out + "/records", out + "/flash"):
        os.mkdir(folder)
    s = paper.Street(4 if short else 8, out + "/flash")
    write(out + "/genesis.bin", s.genesis_bytes)
    recorder = Recorder(s, out)

    def run(slots):
        for _ in range(slots):
            s.run(1)
            recorder.keep()

    run(3)
    s.envelope(4, 6, 5000, 20000)
    run(1)
    s.meters[1].house.curve = lambda slot: ([(paper.RETAIL + 50000, 3000000)], [])  # for slot 6: more than the envelope lets in
    run(1)
    del s.meters[1].house.curve
    if short:
        run(1)
    else:
        day(s, run)
    recorder.rings()
    homes = [{"name": m, "member": i} for i, m in enumerate(NAMES[:len(s.meters)])]
    write(out + "/run.json", json.dumps({"street": "Paper Street", "slot_minutes": 15, "homes": homes}).encode())


def day(s, run):
    s.meters[2].hide = True
    s.meters[6].up = False
    run(2)
    s.meters[2].hide = False
    s.meters[4].flags = 4
    run(1)
    s.meters[4].flags = 1
    s.meters[6].up = True
    s.meters[6].reconnect()
    s.lost = lambda sender, to, kind, payload: 3 in (sender, to)
    run(3)
    s.lost = lambda *_: True
    run(2)
    s.lost = lambda *_: False
    for m in s.meters:
        m.reconnect()
    run(7)


main(sys.argv[1], len(sys.argv) > 2)
