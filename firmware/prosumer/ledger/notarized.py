"""How the iterations since the final block ended: certificates of the tip and of the dummies, for whoever was not there.

The tip's stays however many dummies follow: who left that iteration by its dummy learns of the block by nothing else. The last dummies
stay in memory, those before them on flash: liars may vote dummies with a part of the street and then fall silent; then the other part
is needed, and can follow only if it is shown how every iteration ended. One file for a tip, each certificate behind its length:2.
"""
import os

from micropython import const

from prosumer import durable
from prosumer.codec import Cursor
from prosumer.records import DUMMY, Certificate

_IN_MEMORY = const(2)  # in a street of 16 each takes 0.75 kB of the heap that the next block needs
_MOST_BYTES = const(65536)  # 170 iterations of 7 members, 87 of 16, 37 of 40


def _path(node):
    return "%sd%08x" % (node.folder, node.simplex.tip[0])


def note(node, certificate):
    known, (h, digest) = node.notarizations + [certificate], node.simplex.tip
    others = [c for c in known if c.header_hash != digest]
    for c in others[:-_IN_MEMORY]:
        if c.iteration > h:
            try:
                with open(_path(node), "ab") as f:
                    if f.seek(0, 2) < _MOST_BYTES:
                        f.write(len(c.raw).to_bytes(2, "big"))
                        f.write(c.raw)
            except OSError:  # no room: a laggard waits for the next block
                pass
    node.notarizations = [c for c in known if c.header_hash == digest] + others[-_IN_MEMORY:]


def since(node, iteration, most):
    """At most `most`: blocks, and dummies from an iteration on, in its order."""
    out = [c for c in node.notarizations if c.header_hash != DUMMY]
    if durable.exists(_path(node)):
        with open(_path(node), "rb") as f:
            while len(out) < most:
                head = f.read(8)  # length, type, kind, iteration
                if len(head) < 8:
                    break
                size = int.from_bytes(head[:2], "big") - 6
                if int.from_bytes(head[4:], "big") < iteration:
                    f.seek(size, 1)
                else:
                    out.append(Certificate.read(Cursor(head[2:] + f.read(size))))
    return (out + [c for c in node.notarizations if c.header_hash == DUMMY and c.iteration >= iteration])[:most]


def forget(node):
    node.notarizations = []
    for name in os.listdir(node.folder[:-1]):
        if name[0] == "d" and len(name) == 9:
            os.remove(node.folder + name)
