"""Brings what is missing from several sources: where one has a gap or a damaged block, the next is tried.

    filled = fill(archive, feeder, sources)           until none of them has anything that continues the chain
    wait_behind(archive, feeder, sources, filled)     what stands behind a gap that none of them closes waits in the archive
    Peer(archive, sources, told).start()              fills from time to time, beside a follower
"""
import threading
from collections import Counter
from dataclasses import dataclass, field

from . import format
from .chain import Refused
from .sources import Closed, failures
from .store import MOST_WAITING

PERIOD_S = 30


@dataclass
class Filled:
    joined: Counter = field(default_factory=Counter)  # name of a source → blocks
    faults: dict = field(default_factory=dict)        # name of a source → (slot or None, why)
    closed: set = field(default_factory=set)          # names of those whose token does not open this feeder

    def unmended(self, last):
        """[(name, why)] of faults above the last slot: no other source made them good."""
        return [(name, why) for name, (slot, why) in self.faults.items() if slot is None or slot > last]


def given(source, feeder, height, slot, filled):
    """(slot, header hash, (proposal, certificate)) from `slot` on, which itself is not read, until there is no more or the source is at fault."""
    at = None
    try:
        for at, digest, read in source.blocks(feeder, height, slot):
            yield at, digest, None if at == slot else read()
    except Closed:
        filled.closed.add(source.name)
    except failures() as error:
        filled.faults[source.name] = at, reason(at, error)


def reason(slot, error):
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return text if slot is None or text.startswith("block ") else f"block {slot}: {text}"


def fill(archive, feeder, sources, progress=lambda slot: None):
    filled, before = Filled(), None
    while before != (before := archive.chain(feeder).slot):
        for source in sources:
            _from(archive, feeder, source, filled, progress)
    return filled


def wait_behind(archive, feeder, sources, filled):
    """What is not read here waits for the gap to close, as what a follower hears does."""
    for source in sources:
        if source.name not in filled.closed and source.name not in filled.faults:
            _from(archive, feeder, source, filled, lambda slot: None, MOST_WAITING)


def _from(archive, feeder, source, filled, progress, behind=0):
    """All that continues the chain without a gap; `behind`: so many, whatever they continue."""
    with archive.db.lock:  # a listener may add to it
        chain = archive.chain(feeder)
        tip, last, height, count = chain.tip, chain.slot, chain.height, 0
    for slot, digest, parts in given(source, feeder, max(0, height - 1), last, filled):
        try:
            if parts is None:
                if digest not in (tip, None):
                    raise Refused(f"block {slot} is not the one that is final here")
                continue
            header = format.header_at(parts[0])
            if header.previous != tip and not behind or behind and count >= behind:
                return
            filled.joined[source.name] += _take(archive, feeder, *parts)
        except archive.db.errors:
            raise
        except format.RUBBISH as error:
            filled.faults[source.name] = slot if parts else None, reason(slot, error)  # another history is not made good by others
            return
        tip, count = header.hash(feeder), count + 1
        progress(slot)


def _take(archive, feeder, proposal, certificate):
    try:
        return archive.take(feeder, proposal, certificate)
    except archive.db.conflicts:  # another program was faster: look again
        return archive.take(feeder, proposal, certificate)


class Peer:
    """Asks other archives for what is missing here: at once, and every PERIOD_S seconds."""

    def __init__(self, archive, sources, told=lambda text: None, period_s=PERIOD_S):
        self.archive, self.sources, self.told, self.period_s = archive, sources, told, period_s
        self.said, self.stopped = set(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        self.stopped.set()
        self.thread.join(60)

    def _run(self):
        while True:
            try:
                self.once()
            except self.archive.db.errors as error:  # the listener ends by it; who only fills tries again
                self._tell_once(f"the database fails: {reason(None, error)}")
            if self.stopped.wait(self.period_s):
                return

    def once(self):
        for feeder, name in self.archive.feeders():
            filled = fill(self.archive, feeder, self.sources)
            for source, blocks in filled.joined.items():
                if blocks:
                    self.told(f"{blocks} blocks of {name} from {source}, up to slot {self.archive.chain(feeder).slot}")
            for source in filled.closed:
                self._tell_once(f"{source}: no token given opens {name}; it is skipped")
            for source, why in filled.unmended(self.archive.chain(feeder).slot):
                self._tell_once(f"{source}: {why}")

    def _tell_once(self, text):
        """A fault that stays is told once."""
        if text not in self.said:
            self.said.add(text)
            self.told(text)
