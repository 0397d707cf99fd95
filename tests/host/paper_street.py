"""Runs on the MicroPython Unix port: plays a street on paper (tests/unit/paper.py) and writes it as a RUN folder.

    micropython -X heapsize=4M tests/host/paper_street.py OUT [short|month [CHEAT]]

Eight meters, twenty slots, with what a day may bring: a narrow envelope, a silent proposer, an order not shown, a faulty
reading, a meter that is off and comes back, a meter that cannot send, two void slots. Short: four meters, six slots. Month: five
houses and a meter at the feeder's head around the end of June, with a tariff calendar, a credit limit, coins and payments; with a
CHEAT all of them run by a wrong rule (paper_cheats.py).
"""
import json
import os
import struct
import sys

here = __file__.rsplit("/", 1)[0]
sys.path.insert(0, here + "/../../firmware")
sys.path.insert(0, here + "/../unit")
sys.path.insert(0, here)

import paper
from prosumer.records import GIVE, PAY_IN, PAY_OUT, RETIRE, ROLE_GENERATES, ROLE_HEAD, ROLE_STORES, Header

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


JULY_S = 1751320800  # 1 July 2025, 00:00 at UTC+2
MONTH = {"roles": [ROLE_GENERATES, 0, ROLE_GENERATES | ROLE_STORES, 0, ROLE_STORES, ROLE_HEAD], "loss": 0, "credit": 3000000, "accuracy": 1,
         "start_s": JULY_S - 6 * paper.SLOT_S, "bands": [(127, 0, 360, 180000, 60000), (31, 1080, 1440, 320000, 90000)]}


def main(out, which="day", cheat=None):
    short = which == "short"
    for folder in (out, out + "/records", out + "/flash"):
        os.mkdir(folder)
    s = paper.Street(6, out + "/flash", **MONTH) if which == "month" else paper.Street(4 if short else 8, out + "/flash")
    if which == "month":
        for m in s.meters:
            m.accuracy = 2
    write(out + "/genesis.bin", s.genesis_bytes)
    recorder = Recorder(s, out)

    def run(slots):
        for _ in range(slots):
            s.run(1)
            recorder.keep()

    if which == "month":
        month(s, run, cheat)
        return finish(s, out, recorder)
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
    finish(s, out, recorder)


def finish(s, out, recorder):
    recorder.rings()
    homes = [{"name": m, "member": i} for i, m in enumerate(NAMES[:len(s.meters)])]
    write(out + "/run.json", json.dumps({"street": "Paper Street", "slot_minutes": 15, "utc_offset_s": 7200, "homes": homes}).encode())


def month(s, run, cheat):
    if cheat:
        import paper_cheats
        paper_cheats.CHEATS[cheat](s)
    run(4)
    s.transfer(0, GIVE, 0, 1, 250000, b"to olivier")
    s.transfer(2, RETIRE, 0, 2, 100000, b"certificate")
    s.transfer(255, PAY_IN, 0, 3, 1500000, b"bank 17")
    run(1)
    s.transfer(1, RETIRE, 0, 1, 200000)
    s.transfer(0, GIVE, 1, 4, 1)
    s.transfer(0, GIVE, 2, 4, 2)
    s.transfer(255, PAY_OUT, 1, 3, 400000)
    s.meters[3].accuracy = 0  # not good enough to be settled
    run(1)
    s.meters[3].accuracy = 2
    s.meters[1].up = False
    run(3)
    s.meters[1].up = True
    s.meters[1].chain.rebase(s.meters[1].house.totals)  # what it took meanwhile is in its registers and in no interval
    s.meters[1].reconnect()
    run(1)
    if cheat:
        paper_cheats.late(cheat, s)
    run(4)


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


main(*sys.argv[1:])
