"""The archive beside a real street: emulated meters that seal what they say, one broker; what it holds is what the recorder and the meters hold."""
import asyncio
import base64
import json
import threading

import pytest
from street_kit import Game, Run

from prosumer_tools.archive import proven, receipts
from prosumer_tools.archive.ask import Asker
from prosumer_tools.archive.check import against, check
from prosumer_tools.archive.database import Database
from prosumer_tools.archive.listen import Listener
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands.check_receipt import check as check_receipts


class Archived(Game):
    """A game with an archive that listens from the first slot on."""

    def __init__(self, folder, **options):
        super().__init__(folder, faults=[(4, 100, Archived.show)], **options)
        self.answers = []
        ready = self.on_ready

        def listen(game):
            ready(game)
            self.archive = Archive(Database(folder / "archive.db"))
            feeder = self.archive.enrol(self.genesis)
            broker = self.supervisor.broker
            self.listener = Listener(self.archive, broker.host, broker.port, keys=lambda: {feeder: self.feeder_keys}).start()
        self.on_ready = listen

    def ask(self):
        """In a thread of its own: the operator asks the archive, on the street's own broker, what alder did in slot 2."""
        broker = self.supervisor.broker
        with Asker(self.feeder_keys, 255, broker.host, broker.port, timeout_s=120) as ask:
            self.found = proven.ANSWERS["receipt"](proven.Trust(self.genesis, ask), {"member": 0, "slot": 2})

    def show(self):
        """birch's owner shows it what alder gave out about slot 2, and the same with another number in it."""
        self.asking = threading.Thread(target=self.ask)
        self.asking.start()
        receipt = receipts.receipt(self.archive, self.feeder_id, 0, 2)
        self.client.message_callback_add("prosumer/+/receipt", lambda c, u, m: self.answers.append((m.topic, json.loads(m.payload))))
        self.client.subscribe("prosumer/+/receipt", 1)
        for shown in (receipt, receipt[:-200] + bytes([receipt[-200] ^ 1]) + receipt[-199:], b"\x0e\x00"):
            self.client.publish("prosumer/birch/set", json.dumps({"receipt": base64.b64encode(shown).decode()}), qos=1)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    game = Archived(tmp_path_factory.mktemp("street") / "run", slots=6)
    asyncio.run(asyncio.wait_for(game.run(), 400))
    game.asking.join(120)
    game.listener.stop()
    game.live = game.archive.chain(game.feeder_id).height
    return game, Run(game)


def test_the_archive_holds_what_the_meters_agreed_on(street):
    game, run = street
    assert run.result.ok, run.result.faults
    archive, feeder = game.archive, game.feeder_id
    assert game.live >= len(run.blocks) - 1 and not game.listener.refused
    archive.bring_in(game.out)  # the last block may have come when the archive had been stopped
    assert [slot for slot, in archive.db.all("SELECT slot FROM blocks ORDER BY slot")] == run.blocks and len(run.blocks) >= 5
    assert check(archive, feeder).ok
    for ring in run.rings.values():
        assert against(archive, feeder, ring) == []


def test_receipts_of_a_real_street_hold_at_any_meter(street):
    game, run = street
    archive, feeder = game.archive, game.feeder_id
    slot = run.blocks[-1] - 1
    found = check_receipts([receipts.receipt(archive, feeder, m, slot) for m in range(5)], (game.out / "genesis.bin").read_bytes())
    assert all(f["reading"] for f in found) and any(f["trade"] and (f["trade"]["bought_mwh"] or f["trade"]["sold_mwh"]) for f in found)


def test_the_operator_asks_on_the_streets_own_broker(street):
    game, _ = street
    found, text, data = game.found
    assert data == receipts.receipt(game.archive, game.feeder_id, 0, 2) and found["reading"]["import_mwh"] is not None
    assert text.startswith("member 0 of") and "reading    signed by the meter" in text


def test_a_meter_says_what_a_neighbours_receipt_proves(street):
    game, run = street
    assert [topic for topic, _ in game.answers] == ["prosumer/birch/receipt"] * 3
    good, changed, short = [answer for _, answer in game.answers]
    block = receipts.receipt(game.archive, game.feeder_id, 0, 2)
    found, = check_receipts([block], (game.out / "genesis.bin").read_bytes())
    assert good["valid"] and (good["member"], good["slot"]) == (0, 2) and good["signatures"] >= good["quorum"] == 4
    assert good["import_mwh"] == found["reading"]["import_mwh"] and good["price_ucr_per_kwh"] == found["trade"]["price_ucr_per_kwh"]
    assert not changed["valid"] and short == {"valid": False, "why": "truncated"}
    assert not run.rejects().get("no-memory")
