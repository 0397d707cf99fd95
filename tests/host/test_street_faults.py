"""A street in which meters lose their power, the broker goes away, or somebody works on a meter: nothing final is lost or doubled."""
import asyncio
import signal

import pytest
from prosumer_tools.emulator.broker import KINDS, mosquitto
from street_kit import FINALIZE, SLOT_S, VOTE, play
from test_emulator_console import mpremote

DUMMY = bytes(32)


def kill(*names):
    """`kill -9` from outside."""
    def fault(game):
        for name in names:
            game.supervisor.devices[name].signal(signal.SIGKILL)
    return fault


def boot(*names):
    return lambda game: game.supervisor.boot(*names)


def contradictions(run):
    """What no meter may ever do: two block votes in one iteration, a finalize beside a dummy, two records for one slot."""
    votes, said, found = run.votes(), {}, []
    for (kind, member, iteration), hashes in votes.items():
        if len(hashes - {DUMMY}) > 1:
            found.append(("two votes", kind, member, iteration))
        if kind == FINALIZE and DUMMY in votes.get((VOTE, member, iteration), ()):
            found.append(("finalize and dummy", member, iteration))
    where = {"reading": slice(6, 10), "commit": slice(2, 6), "order": slice(2, 6), "sketch": slice(6, 10), "proposal": slice(6, 10)}  # …, iteration
    for _, kind, member, raw in run.said:
        if kind in where and raw and said.setdefault((kind, member, raw[where[kind]]), raw) != raw:
            found.append(("two records", kind, member, raw[where[kind]].hex()))
    return found


def registers_only_rise(readings):
    pairs = list(zip(readings, readings[1:]))
    return pairs and all(a.import_mwh <= b.import_mwh and a.export_mwh <= b.export_mwh and a.generation_mwh <= b.generation_mwh
                         for a, b in pairs)


def same_rings(run):
    """Every meter ends with the same headers in its flash (one that was away may begin later)."""
    longest = max(run.rings.values(), key=len)
    return all(ring and longest[-len(ring):] == ring for ring in run.rings.values())


def test_a_street_trades_and_every_meter_ends_with_the_same_chain(tmp_path):
    run = play(tmp_path, count=5, slots=5)
    assert run.result.ok, run.result.faults
    assert run.blocks == [0, 1, 2, 3, 4, 5]
    assert run.result.counts["trades"] >= 20 and run.result.counts["traded_mwh"] > 500_000
    assert len({tuple(ring) for ring in run.rings.values()}) == 1 and len(run.rings["alder"]) == 6
    assert run.facts["lost_clock"] == 0, "a run without faults loses no message"
    assert run.rejects() == {}, "and refuses none"
    assert not contradictions(run)


def test_a_killed_meter_is_back_in_the_market_and_its_registers_never_go_back(tmp_path):
    run = play(tmp_path, count=4, slots=7, faults=[(2, 100, kill("birch")), (4, 50, boot("birch"))])
    assert run.result.ok, run.result.faults
    assert run.blocks == list(range(8)), "three of four are a quorum"
    assert run.result.counts["void_slots"] == 0
    assert same_rings(run) and not contradictions(run)
    assert run.facts["devices"]["birch"]["boots"] == 3 and run.states["birch"]["counts"].get("caught-up", 0) >= 1
    readings = run.readings(1)
    assert registers_only_rise(readings) and [r.seq for r in readings] == list(range(len(readings)))
    assert [r.slot for r in readings] == [0, 1, 4, 5, 6, 7]
    gap = readings[2]
    assert gap.flags & 256, "the gap is said"
    # 900 W for the minute of slot 2 that was journalled, and from the boot to the end of slot 4; nothing estimated
    assert abs(gap.import_mwh - readings[1].import_mwh - 900_000 * (60 + SLOT_S - 50) // 3600) < 500
    missing = 900_000 * 50 // 3600  # until the boot; its uncertainty covers that
    assert missing <= gap.uncertainty_mwh < missing + 2 * readings[1].uncertainty_mwh + 500 < 20 * readings[1].uncertainty_mwh
    assert not gap.faulty and run.states["birch"]["final_slot"] == 7


def test_without_a_quorum_nothing_is_final_and_the_street_goes_on_when_it_is_back(tmp_path):
    run = play(tmp_path, count=4, slots=7, faults=[(2, 100, kill("birch", "cedar")), (4, 50, boot("birch", "cedar"))])
    assert run.result.ok, run.result.faults
    assert run.blocks == [0, 1, 4, 5, 6, 7] and run.result.counts["void_slots"] == 2
    assert same_rings(run) and not contradictions(run)
    assert all(registers_only_rise(run.readings(member)) for member in range(4))
    assert run.result.counts["late_readings"] >= 4, "what was measured in void slots is settled later"


def test_meters_find_the_broker_again_after_an_outage(tmp_path):
    async def back(game):
        game.supervisor.broker.start()
        while not game.client.is_connected():  # the recorder must not miss the block that follows
            await asyncio.sleep(0.02)

    def restart(game):
        game.supervisor.broker.stop()
        return back(game)

    run = play(tmp_path, count=4, slots=6, faults=[(1, 100, restart), (3, 265, lambda game: game.supervisor.broker.stop()), (4, 20, back)])
    assert run.result.ok, run.result.faults
    assert set(run.blocks) >= {0, 1, 2, 5, 6} and run.result.counts["void_slots"] <= 1
    assert same_rings(run) and not contradictions(run)
    assert all(d["boots"] == 2 for d in run.facts["devices"].values()), "no meter restarted for it"
    assert all(run.states[name]["final_slot"] == 6 for name in run.states)


def test_power_cuts_inside_flash_operations_of_the_agreement_never_make_a_meter_contradict_itself(tmp_path):
    """Each slot birch boots shortly before the gate and loses its power in the middle of its n-th flash operation."""
    def cut(operation):
        def fault(game):
            game.supervisor.kill("birch")
            game.supervisor.devices["birch"].cut_after = operation
            game.supervisor.boot("birch")
        return fault

    cuts = []

    def power_back(game):
        if game.supervisor.devices["birch"].state == "off":
            cuts.append(game.supervisor.now_ms)
            game.supervisor.boot("birch")

    faults = []
    for i, operation in enumerate((3, 11, 19, 27, 38, 47)):
        faults += [(1 + i, 262, cut(operation)), (2 + i, 5, power_back)]
    run = play(tmp_path, count=4, slots=8, faults=faults)
    assert len(cuts) >= 4, "too few flash operations to cut"
    assert run.result.ok, run.result.faults
    assert run.blocks == list(range(9)) and run.result.counts["void_slots"] == 0
    assert same_rings(run) and not contradictions(run)
    assert registers_only_rise(run.readings(1)) and run.states["birch"]["final_slot"] == 8


def test_somebody_works_on_a_running_meter_with_mpremote_and_a_reset_brings_it_back(tmp_path):
    said = {}

    async def work(game):
        said["sum"] = await mpremote(game.supervisor, "cedar", "exec", "print(6 * 7)")
        said["state"] = game.supervisor.devices["cedar"].state
        said["files"] = await mpremote(game.supervisor, "cedar", "fs", "ls", ":/data")

    async def reset(game):
        await mpremote(game.supervisor, "cedar", "soft-reset", "reset")

    run = play(tmp_path, count=4, slots=6, faults=[(2, 100, work), (3, 100, reset)])
    assert said["sum"] == "42\n" and said["state"] == "repl" and "final" in said["files"]
    assert run.result.ok, run.result.faults
    assert run.blocks == list(range(7)) and same_rings(run) and not contradictions(run)
    assert run.states["cedar"]["final_slot"] == 6 and run.facts["devices"]["cedar"]["resets"] == 1
    assert registers_only_rise(run.readings(2))


@pytest.mark.parametrize("broker", [kind for kind in KINDS if kind != "mosquitto" or mosquitto()])
def test_a_meter_that_missed_neighbours_orders_fetches_the_block_they_are_in(tmp_path, broker):
    lost = []

    def drop(name, kind):
        missed = name == "dogwood" and kind == "order" and len(lost) < 5
        if missed:
            lost.append(kind)
        return missed

    run = play(tmp_path, count=4, slots=5, broker=broker, sealed=True, network={"drop": drop})
    assert run.result.ok, run.result.faults
    assert run.blocks == [0, 1, 2, 3, 4, 5] and len(lost) == 5
    assert run.states["dogwood"]["counts"].pop("record-missing") >= 1
    assert len({tuple(ring) for ring in run.rings.values()}) == 1 and len(run.rings["dogwood"]) == 6
    counted = run.rejects()
    assert "caught-up" not in counted, "it needed no neighbour's answer"
    assert set(counted) <= {"no-commit", "record-left-out", "timeout"}, counted  # the last two when it was dogwood's turn
