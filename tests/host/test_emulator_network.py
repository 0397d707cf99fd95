"""The network between meters and broker: messages are late by what was asked, in virtual time, and a cut line loses what was on it."""
import re

import pytest
from emulator_kit import PERIOD_MS, Street, run
from prosumer_tools.emulator.broker import KINDS, mosquitto
from prosumer_tools.emulator.network import Network


def late_by(log):
    """How late each message was that came late, ms."""
    return [-int(n) for n in re.findall(r"LATE (-\d+)", log)]


async def printed(street, name, count):
    """What `late_by` finds once the terminal has brought at least `count` of them: it may be behind the bus."""
    await street.until(lambda: len(late_by(street.log_of(name))) >= count)
    return late_by(street.log_of(name))


async def street_of(street, count, **options):
    """The small agents of emulator_kit on a Network; `feeder/` is their topic."""
    network = Network(street, **options)
    for i in range(count):
        await network.attach(f"h{i}")
    street.add_homes(count)
    return network


@pytest.fixture(autouse=True)
def small_agents_topics(monkeypatch):
    monkeypatch.setattr("prosumer_tools.emulator.network._on_feeder", lambda topic: topic.startswith("feeder/"))


@pytest.mark.parametrize("broker", [kind for kind in KINDS if kind != "mosquitto" or mosquitto()])
def test_every_message_is_late_by_the_delay_and_none_is_lost(tmp_path, broker):
    async def scenario():
        async with Street(tmp_path, broker=broker) as street:
            heard = []
            network = await street_of(street, 4, delay_ms=200, heard=lambda *said: heard.append((street.now_ms, *said[:2])))
            street.boot()
            await street.live(6)
            await street.run(street.now_ms + 1000)  # the last period's are still on their way
            assert street.clock.lost == 0
            for name in street.devices:
                assert await printed(street, name, 24) == [200] * 24, "four say something in each of six periods, and all hear it"
                assert network.lines[name].received_messages == 24 and network.lines[name].sent_messages == 6
            assert len(heard) == 24 and all(now % PERIOD_MS == 0 for now, _, _ in heard)
    run(scenario)


def test_without_a_delay_nothing_is_late(tmp_path):
    async def scenario():
        async with Street(tmp_path) as street:
            await street_of(street, 3)
            street.boot()
            await street.live(5)
            assert street.clock.lost == 0 and not any(late_by(street.log_of(name)) for name in street.devices)
    run(scenario)


def test_who_is_occupied_hears_one_after_the_other(tmp_path):
    async def scenario():
        async with Street(tmp_path) as street:
            await street_of(street, 3, delay_ms=100, cost_ms=lambda *message: 30)
            street.boot()
            await street.live(3)
            await street.run(street.now_ms + 1000)
            assert street.clock.lost == 0
            assert await printed(street, "h1", 9) == [130, 160, 190] * 3
    run(scenario)


def test_a_cut_loses_what_was_on_the_line_and_time_goes_on(tmp_path):
    async def scenario():
        async with Street(tmp_path) as street:
            network = await street_of(street, 3, delay_ms=200)
            street.boot()
            await street.live(3)
            at_ms = street.now_ms + PERIOD_MS + 100  # all have spoken, nobody has heard
            street.at(at_ms, lambda: network.cut("h1"))
            await street.live(4)
            await street.run(street.now_ms + 1000)
            assert street.clock.lost == 0, "what is lost by a cut stops nothing"
            assert len(await printed(street, "h0", 7 * 3)) == 7 * 3
            assert len(await printed(street, "h1", 6 * 3)) == 6 * 3, "one period of messages was on its way to it"
    run(scenario)


def test_who_is_down_hears_nothing_until_it_is_up(tmp_path):
    async def scenario():
        async with Street(tmp_path) as street:
            network = await street_of(street, 3)
            street.boot()
            await street.live(2)
            network.down("h2")
            await street.live(3)
            said = network.lines["h2"].sent_messages
            assert not street.clock.members["h2"].connected and said == 2
            network.up("h2")
            await street.live(3)
            assert street.clock.members["h2"].connected and network.lines["h2"].sent_messages > said
            assert network.lines["h0"].received_messages == 2 * 3 + 3 * 2 + 3 * 3
    run(scenario)
