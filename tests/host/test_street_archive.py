"""The archive that follows a street which is played, as in `prosumer demo`: it has every block, a meter catches up, a receipt is checked."""
import argparse
import asyncio
import json
import sqlite3

import pytest
from street_kit import SLOT_S, Game, Run, street_of

from prosumer_tools.commands import check_receipt, neighbourhood
from prosumer_tools.commands.demo import absences
from prosumer_tools.street.errors import PlayError
from prosumer_tools.street.follower import Follower


class View:
    def slot_done(self, slot):
        pass


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A street with an archive, in which dogwood is cut off for two slots; told as a demo is."""
    game = Game(tmp_path_factory.mktemp("street") / "run", slots=8, sealed=True)
    game.follower, game.cut_off = Follower(), [("dogwood", 3 * SLOT_S + 100, 5 * SLOT_S + 100)]
    ready = game.on_ready

    def tell(game):
        neighbourhood._tell(game, View())
        ready(game)
    game.on_ready = tell
    asyncio.run(asyncio.wait_for(game.run(), 400))
    return game


def test_the_archive_holds_every_final_block_and_gives_a_receipt_that_holds_with_the_genesis_alone(played, capsys):
    out = played.out
    assert neighbourhood.finish(played, out) == 0
    said = capsys.readouterr().out
    run = Run(played)
    assert run.blocks == list(range(9)), "four of five are a quorum"
    held = sqlite3.connect(out / "archive.db").execute("SELECT slot, hash FROM blocks ORDER BY slot").fetchall()
    assert [slot for slot, _ in held] == run.blocks and dict(held) == played.recorder.final
    assert "keeps all 9 final blocks" in said and "all that was checked holds" in said
    parser = argparse.ArgumentParser()
    check_receipt.add_parser(parser.add_subparsers())
    args = parser.parse_args(["check-receipt", str(out / "receipt.bin"), "--genesis", str(out / "genesis.bin"), "--json"])
    assert args.run(args) == 0
    found = json.loads(capsys.readouterr().out)
    slot, member = played.story.largest_sale()
    assert (found["slot"], found["member"]) == (slot, member) and found["trade"]["sold_mwh"] > 0 and found["reading"]
    [(_, text)] = check_receipt.read([str(out / "receipt.html")])
    assert text == (out / "receipt.bin").read_bytes(), "the page holds it too"
    page = (out / "report.html").read_text()
    assert 'href="receipt.html"' in page and f"{list(played.houses)[member]} sold" in page and "archive.db" in page
    assert (out / "feeder-keys.json").stat().st_mode & 0o777 == 0o600


def test_the_meter_that_was_cut_off_caught_up_by_proof_and_its_readings_came_later(played):
    run = Run(played)
    away, = played.follower.witness(played).absences
    assert away.home == "dogwood" and away.blocks == 2 and away.proven and 500 < away.bytes < 20_000
    assert (away.start, away.end) == ("2025-06-21T12:16:40+00:00", "2025-06-21T12:26:40+00:00")
    assert run.states["dogwood"]["final_slot"] == 8 and run.states["dogwood"]["counts"]["caught-up"] >= 1
    assert {slot for slot, member in played.story.readings if member == 3} == set(range(8)), "it measured on"
    assert run.result.counts["late_readings"] >= 1 and run.result.counts["void_slots"] == 0
    assert run.facts["cut_off"] == [["dogwood", 3 * SLOT_S + 100, 5 * SLOT_S + 100]]


def test_an_archive_that_lacks_a_block_or_is_gone_is_no_witness(played, tmp_path, monkeypatch):
    copy = sqlite3.connect(tmp_path / "archive.db")
    sqlite3.connect(played.out / "archive.db").backup(copy)
    copy.execute("DELETE FROM blocks WHERE slot = 8")
    copy.commit()
    copy.close()
    monkeypatch.setattr(played.follower, "db", tmp_path / "archive.db")
    with pytest.raises(PlayError, match="lacks 1 of 9 final blocks, first that of slot 8"):
        neighbourhood.finish(played, played.out)
    monkeypatch.setattr(played.follower, "db", tmp_path / "nowhere.db")
    with pytest.raises(PlayError, match="there is no archive at"):
        neighbourhood.finish(played, played.out)


def test_a_meter_that_did_not_catch_up_is_told(played):
    states = played.recorder.states
    kept = states["dogwood"]
    states["dogwood"] = kept | {"final_slot": 3}
    with pytest.raises(PlayError, match="dogwood was cut off until .* and has not caught up: it is at slot 3, the street at 8"):
        played.follower.witness(played)
    states["dogwood"] = kept


class Absent(Follower):
    def command(self, game):
        return ["sh", "-c", "echo no such archive; exit 3"]


class Dying(Follower):
    async def behind(self, game):
        self._process.kill()
        self.log.write_text("listening to 1 feeder\nblock 1\n")
        await super().behind(game)


@pytest.mark.parametrize("follower, words", [(Absent, "ended (exit code 3): no such archive"), (Dying, "ended (exit code -9): block 1")])
def test_a_street_without_the_archive_it_was_given_fails_with_one_line(tmp_path, capsys, follower, words):
    street, profiles = street_of(3, 4)
    args = argparse.Namespace(out=tmp_path / "run", slots=3, speed=0, broker="amqtt", port=0)

    def script(game):
        game.follower = follower()
    assert neighbourhood.play(street, profiles, args, "", script=script) == 2
    err = capsys.readouterr().err
    assert err == f"prosumer: the archive beside the street {words}\n"
    assert not (tmp_path / "run" / "report.html").exists()


def test_the_demo_cuts_one_meter_off_around_noon_or_in_the_middle_of_a_shorter_run():
    (name, start, end), = absences(96, 900)
    assert name == "cypres" and (start, end) == (12 * 3600 + 20 * 60, 13 * 3600 + 50 * 60)
    for slots in range(1, 64):
        for _, start, end in absences(slots, 900):
            assert 900 < start < end < (slots - 1) * 900
    assert not absences(5, 900) and absences(6, 900)
