"""A street that seals its records, with the broker as the adversary: what it sees, and what it can do with it."""
import random

import pytest
from street_kit import play

from prosumer_tools.feederkeys import FeederKeys
from prosumer_tools.verify import records

ROTATED = 2, 100
OFF, ON = (2, 20), (3, 40)


def _attack(game):
    """Anybody's messages: open ones, ones under an old or an invented key, ones of another topic."""
    said = {kind: (member, raw) for _, kind, member, raw in game.said}
    member, reading = said["reading"]
    plain = game.feeder_keys.open("reading", member, reading)
    stranger = FeederKeys(game.feeder_id, {game.feeder_keys.epoch: b"?" * 32})
    first = next(raw for _, kind, sender, raw in game.said if kind == "commit" and sender == 1)
    forged = [
        (f"reading/{member}", plain), ("weather/255", b'{"start_s": 0, "irradiance": [0, 0, 0]}'),
        (f"reading/{member}", stranger.seal("reading", member, plain)),
        ("reading/0" if member else "reading/1", reading),
        ("vote/2", reading), ("commit/1", first[:1] + bytes(16) + first[17:])]
    rng = random.Random(5297)
    for n in range(60):  # rubbish that looks sealed, or nearly
        kind = ("reading", "vote", "sketch", "proposal", "order", "weather", "envelope", "ask", "chain", "keys", "commit")[n % 11]
        size = (0, 1, 16, 17, 18, 120, 700, 3000)[n % 8]
        forged.append((f"{kind}/{(1, 255)[kind in ('weather', 'envelope', 'keys')]}", (b"\x82" + rng.randbytes(size))[:size]))
    game.forged = {payload for _, payload in forged} - {reading}
    return game.publish(*forged)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return play(tmp_path_factory.mktemp("sealed"), count=4, slots=7, sealed=True, faults=[
        (*OFF, lambda game: game.supervisor.kill("dogwood")),
        (*ROTATED, lambda game: game.rotate()),
        (*ON, lambda game: game.supervisor.boot("dogwood")),
        (5, 100, _attack)])


def test_a_sealed_street_trades_as_an_open_one(run):
    assert run.result.ok, run.result.faults
    assert run.blocks == list(range(8)) and run.result.counts["trades"] >= 10
    assert {s["epoch"] for s in run.states.values()} == {2} and run.facts["epoch"] == 2
    for name in run.states:
        assert "wire sealed, epoch 1\n" in run.game.console(name).replace("\r", "")


def test_the_broker_sees_no_record(run):
    messages = [(kind, raw) for _, kind, _, raw in run.said if raw not in run.game.forged]
    assert {kind for kind, _ in messages} >= {"reading", "commit", "order", "vote", "sketch", "proposal", "envelope", "weather", "keys"}
    assert all(raw[:1] >= b"\x80" for kind, raw in messages if kind != "keys")
    seen = b"".join(raw for kind, raw in messages)
    told = 0
    for path in (run.folder / "records").glob("block-*.bin"):
        block = records.block(path.read_bytes())
        for record in (*block.readings, *block.orders, *block.commits):
            raw = record.raw + getattr(record, "signature", b"")
            assert not any(raw[at:at + 10] in seen for at in range(6, len(raw) - 10, 4))
            told += 1
    assert told > 60


def test_the_broker_sees_no_power_and_no_money_on_the_topics_for_people(run):
    for state in run.states.values():
        assert {"slot", "final_slot", "counts", "epoch"} <= set(state)
        assert not [name for name in state if name.endswith(("_mw", "_mwh", "_mv", "_ucr")) or name == "flags"]


def test_who_was_away_reads_the_new_key_and_catches_up(run):
    epochs = {}
    for _, kind, member, raw in run.said:
        if kind == "vote" and raw[:1] >= b"\x80" and raw not in run.game.forged:
            epochs.setdefault(member, []).append(raw[0] - 128)
    assert all(sorted(e) == e and set(e) == {1, 2} for e in epochs.values()), "each member's epochs only rise"
    dogwood = list(run.states).index("dogwood")
    assert run.result.counts["readings"] >= 4 * 6 and dogwood >= 0
    assert len(run.rings["dogwood"]) == 8


def test_what_a_stranger_publishes_is_refused_and_counted(run):
    rejects = run.rejects()
    assert rejects["not-sealed"] >= 15 * 3 and rejects["bad-seal"] >= 20 * 3 and rejects["wrong-length"] >= 3, rejects
    assert run.facts["not_opened"]["not-sealed"] >= 15 and run.facts["not_opened"]["bad-seal"] >= 20
    assert not {"malformed", "bad-signature", "no-memory"} & set(rejects)


def test_who_has_left_reads_nothing_any_more_and_the_others_go_on(tmp_path):
    run = play(tmp_path, count=4, slots=4, sealed=True, faults=[(1, 100, lambda game: game.rotate(without={3}))])
    assert run.result.ok, run.result.faults
    assert run.blocks == list(range(5)) and {len(run.rings[name]) for name in run.states if name != "dogwood"} == {5}
    assert len(run.rings["dogwood"]) <= 2, "no block of the new epoch"
    epochs = {}
    for _, kind, member, raw in run.said:
        if kind not in ("keys", "genesis"):
            epochs.setdefault(member, set()).add(raw[0])
    assert epochs[3] == {129}, "it stays with the old key and never talks in the open"
    assert all(epochs[m] == {129, 130} for m in range(3))
    assert run.states["dogwood"]["counts"]["unknown-epoch"] > 10
