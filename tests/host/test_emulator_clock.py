"""The rule by which virtual time moves, alone and against an invented street of every order of events."""
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from prosumer_tools.emulator.clock import QUIET_S, STALL_S, Clock


def street(count=2, now_ms=1000):
    clock = Clock(now_ms)
    for i in range(count):
        clock.join(f"h{i}", wall=0.0)
    return clock


def settled(count=2):
    """A street whose devices are connected, wait until 2000 and have their baselines."""
    clock = street(count)
    for i in range(count):
        clock.waits(f"h{i}", 2000, 0, 0, 0, 1, wall=0.0)
    assert clock.look(QUIET_S) == (2000, None)
    return clock


def test_a_booting_device_holds_the_clock():
    clock = street()
    clock.waits("h0", 2000, 0, 0, 0, 0, wall=0.0)
    assert clock.look(1.0) == (None, None)
    assert clock.busy() == ["h1"]
    clock.waits("h1", 1500, 0, 0, 0, 0, wall=0.0)
    assert clock.look(1.0) == (1500, None)


def test_a_device_that_is_due_holds_the_clock_until_it_waits_again():
    clock = settled()
    clock.now_ms = 2000
    assert clock.busy() == ["h0", "h1"]
    clock.waits("h0", 3000, 0, 0, 0, 1, wall=0.0)
    assert clock.look(1.0) == (None, None)
    clock.waits("h1", 2500, 0, 0, 0, 1, wall=0.0)
    assert clock.look(1.0) == (2500, None)


def test_a_stale_wait_of_a_device_that_is_already_due_does_not_count():
    clock = settled()
    clock.now_ms = 2000
    for name in ("h0", "h1"):
        clock.waits(name, 2000, 0, 0, 0, 1, wall=0.0)  # sent before it saw the new time
    assert clock.look(1.0) == (None, None)


def test_a_message_in_flight_holds_the_clock_until_every_device_has_it():
    clock = settled()
    clock.waits("h0", 2000, 1, 0, 0, 1, wall=1.0)
    assert clock.look(1.0) == (None, STALL_S)
    clock.waits("h1", 2000, 0, 1, 0, 1, wall=1.0)
    assert clock.look(1.0) == (None, STALL_S), "its publisher is subscribed too"
    clock.waits("h0", 2000, 1, 1, 0, 1, wall=1.0)
    assert clock.look(1.0) == (2000, None)


def test_an_unconfirmed_message_holds_the_clock():
    clock = settled()
    clock.waits("h0", 2000, 0, 0, 1, 1, wall=1.0)
    assert clock.look(1.0)[0] is None
    clock.waits("h0", 2000, 0, 0, 0, 1, wall=1.0)
    assert clock.look(1.0) == (2000, None)


def test_what_the_host_publishes_is_awaited():
    clock = settled()
    clock.host_published(1, wall=1.0)
    assert clock.look(1.0)[0] is None
    for name in ("h0", "h1"):
        clock.waits(name, 2000, 0, 1, 0, 1, wall=1.0)
    assert clock.look(1.0) == (2000, None)


def test_lost_messages_are_given_up_once_and_nothing_later_is_missed():
    clock = settled()
    clock.waits("h0", 2000, 1, 1, 0, 1, wall=1.0)  # h1 never gets it
    assert clock.look(1.0 + STALL_S / 2) == (None, STALL_S / 2)
    assert clock.look(1.0 + STALL_S) == (2000, None)
    assert clock.lost == 1
    clock.waits("h0", 2000, 2, 2, 0, 1, wall=9.0)
    assert clock.look(9.0)[0] is None
    clock.waits("h1", 2000, 0, 1, 0, 1, wall=9.0)
    assert clock.look(9.0) == (2000, None)
    assert clock.lost == 1


def test_a_strangers_message_does_not_hide_a_later_one_in_flight():
    clock = settled()
    for name in ("h0", "h1"):
        clock.waits(name, 2000, 0, 1, 0, 1, wall=1.0)
    assert clock.look(1.0) == (2000, None)
    clock.waits("h0", 2000, 1, 1, 0, 1, wall=2.0)
    assert clock.look(2.0)[0] is None
    assert clock.in_flight("h0") == clock.in_flight("h1") == 1


def test_a_new_connection_is_given_quiet_before_its_baseline():
    clock = street(1)
    clock.waits("h0", 2000, 0, 0, 0, 1, wall=1.0)
    assert clock.look(1.0) == (None, QUIET_S)
    clock.waits("h0", 2000, 0, 3, 0, 1, wall=1.02)  # retained messages
    assert clock.look(1.03)[0] is None
    assert clock.look(1.02 + QUIET_S) == (2000, None)
    assert clock.in_flight("h0") == 0


def test_a_killed_device_neither_holds_the_clock_nor_upsets_the_count():
    clock = settled(3)
    clock.waits("h0", 2000, 1, 0, 0, 1, wall=1.0)
    clock.leave("h0", wall=1.0)
    assert clock.look(1.0)[0] is None, "its message is still under way"
    for name in ("h1", "h2"):
        clock.waits(name, 2000, 0, 1, 0, 1, wall=1.0)
    assert clock.look(1.0) == (2000, None)
    clock.join("h0", wall=2.0)
    assert clock.look(2.0) == (None, None)
    clock.waits("h0", 2000, 0, 0, 0, 1, wall=2.0)
    assert clock.look(3.0) == (2000, None)


def test_a_device_in_its_repl_does_not_hold_the_clock_but_may_wait():
    clock = settled()
    clock.computes("h0", wall=1.0)
    clock.release("h0", wall=1.0)
    assert clock.look(1.0) == (2000, None)
    clock.waits("h0", 1200, 0, 0, 0, 0, wall=1.0)
    assert clock.look(1.0) == (1200, None)
    clock.now_ms = 1200
    assert clock.look(1.0) == (2000, None)


class World:
    """Devices and a broker in which any order of steps may happen; counts are reported only in waits, as on the bus."""

    def __init__(self, count, rng):
        self.rng, self.clock, self.wall, self.talkative = rng, Clock(0), 0.0, True
        self.inbox = {i: 0 for i in range(count)}
        self.published = dict.fromkeys(self.inbox, 0)
        self.received = dict.fromkeys(self.inbox, 0)
        self.deadline = dict.fromkeys(self.inbox, 0)
        self.asleep = dict.fromkeys(self.inbox, False)
        for i in self.inbox:
            self.clock.join(i, 0.0)

    def publish(self, i):
        self.published[i] += 1
        for j in self.inbox:
            self.inbox[j] += 1

    def step(self):
        i = self.rng.choice(list(self.inbox))
        if not self.asleep[i]:
            if self.deadline[i] <= self.clock.now_ms:
                self.deadline[i] = self.clock.now_ms + self.rng.randint(1, 9)
            for _ in range(self.rng.choice((0, 0, 0, 0, 0, 1, 2)) if self.talkative else 0):
                self.publish(i)
            self.asleep[i] = True
            self.clock.waits(i, self.deadline[i], self.published[i], self.received[i], 0, 1, self.wall)
        elif self.inbox[i]:
            self.inbox[i] -= 1
            self.received[i] += 1
            self.asleep[i] = False
            if self.rng.random() < 0.7:  # the note that it woke may come late
                self.clock.computes(i, self.wall)

    def try_time(self):
        next_ms, _ = self.clock.look(self.wall)
        if next_ms is None:
            return False
        assert all(self.asleep.values()), "time moved while a device computed"
        assert not any(self.inbox.values()), "time moved while a message was in flight"
        self.clock.now_ms = next_ms
        for i in self.inbox:
            if self.deadline[i] <= next_ms:
                self.asleep[i] = False
        return True


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32))
def test_time_never_overtakes_a_device_or_a_message(count, seed):
    world = World(count, random.Random(seed))
    for i in world.inbox:  # connect in silence, then let time run
        world.asleep[i], world.deadline[i] = True, 1
        world.clock.waits(i, 1, 0, 0, 0, 1, 0.0)
    world.wall = QUIET_S
    assert world.try_time()
    moved = 0
    for _ in range(300):
        world.step()
        moved += world.try_time()
    world.talkative = False  # once nobody speaks any more, it must move
    for _ in range(20_000):
        if moved:
            break
        world.step()
        moved += world.try_time()
    assert moved and world.clock.lost == 0
