"""When may virtual time move on? The rule, without any I/O.

Time advances to the earliest deadline only when every device that takes part waits, has nothing unconfirmed at the broker, and no
message is in flight. In flight is counted, not guessed: every device subscribes to the whole feeder, so each one receives every message
that anyone publishes, its own included; `published by all − received by one`, taken from a baseline, is what is still under way to it.

Baselines are set when a device has connected and all was quiet for `QUIET_S`. Counters that do not match while nothing
changes for `stall_s` mean that messages were lost (an outage, a partition, a killed device); time then goes on with new baselines. What
a network delays on purpose (network.py) is `held`: not in flight until its time has come.
"""
from dataclasses import dataclass

QUIET_S = 0.05
STALL_S = 2.0


@dataclass
class Member:
    """One device as the clock sees it. `holding`: it takes part; `deadline_ms` is None while it computes."""

    holding: bool = True
    deadline_ms: int | None = None
    published: int = 0
    received: int = 0
    unacked: int = 0
    connected: bool = False
    baseline: int | None = None  # published by all − received, when nothing was in flight


class Clock:
    """Virtual Unix time in ms and who holds it. `wall` arguments are monotonic seconds."""

    def __init__(self, now_ms):
        self.now_ms = now_ms
        self.members = {}
        self.stall_s = STALL_S
        self.lost = 0  # times that counters had to be given up
        self.held = {}  # name → messages that a network delays: they come when time has moved on, so they hold nothing
        self._retired = 0  # published by host processes and by device processes that are gone
        self._changed = 0.0

    def join(self, name, wall):
        """A device boots: it holds the clock until its first wait."""
        self.leave(name, wall)
        self.members[name] = Member()

    def leave(self, name, wall):
        """A device is gone; what it published stays counted."""
        member = self.members.pop(name, None)
        if member:
            self._retired += member.published
        self._changed = wall

    def release(self, name, wall):
        """A device sits in its REPL: it no longer holds the clock, but it may still wait."""
        self.members[name].holding = False
        self._changed = wall

    def waits(self, name, deadline_ms, published, received, unacked, connected, wall):
        member = self.members[name]
        if connected and not member.connected:
            member.baseline = None
        member.deadline_ms, member.published, member.received = deadline_ms, published, received
        member.unacked, member.connected = unacked, bool(connected)
        self._changed = wall

    def computes(self, name, wall):
        self.members[name].deadline_ms = None
        self._changed = wall

    def host_published(self, count, wall):
        """A host process published `count` messages on the feeder's topics."""
        self._retired += count
        self._changed = wall

    def hold(self, name, count):
        """`count` more (or fewer) messages to this device are delayed."""
        self.held[name] = self.held.get(name, 0) + count

    def in_flight(self, name):
        member = self.members[name]
        if not member.connected or member.baseline is None:
            return 0
        return self._published() - member.baseline - member.received - self.held.get(name, 0)

    def busy(self):
        """Names of the devices that hold the clock because they compute, or are due and have not taken up the new time yet."""
        return [name for name, m in self.members.items() if m.holding and (m.deadline_ms is None or m.deadline_ms <= self.now_ms)]

    def look(self, wall):
        """Return (next_ms, None): time may move to the earliest deadline (None: nobody has one); or (None, seconds): look again then,
        or at the next event when seconds is None.
        """
        if self.busy():
            return None, None
        holders = {name: m for name, m in self.members.items() if m.holding and m.connected}
        quiet_s = wall - self._changed
        published = self._published()
        fresh = [m for m in holders.values() if m.baseline is None]
        if fresh and quiet_s < QUIET_S:
            return None, QUIET_S - quiet_s
        for name, member in holders.items():
            if member.baseline is None:
                member.baseline = published - member.received - self.held.get(name, 0)
        waiting = False
        for name, member in holders.items():
            flying = self.in_flight(name)
            if flying < 0:  # it received what nobody counted: a last will, a stranger's message
                member.baseline += flying
            waiting = waiting or flying > 0 or member.unacked > 0
        if waiting:
            if quiet_s < self.stall_s:
                return None, self.stall_s - quiet_s
            self.lost += 1
            for name, member in holders.items():
                member.baseline, member.unacked = published - member.received - self.held.get(name, 0), 0
        deadlines = [m.deadline_ms for m in self.members.values() if m.deadline_ms is not None and m.deadline_ms > self.now_ms]
        return min(deadlines, default=None), None

    def why(self):
        """One line for the log: what holds the clock."""
        flying = {name: self.in_flight(name) for name in self.members if self.in_flight(name)}
        unacked = {name: m.unacked for name, m in self.members.items() if m.unacked}
        return f"busy {self.busy()}, in flight {flying}, unconfirmed {unacked}"

    def _published(self):
        return self._retired + sum(m.published for m in self.members.values())
