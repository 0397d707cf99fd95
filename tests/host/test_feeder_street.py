"""`prosumer feeder` on a street of emulated meters: started by it, sealed, paid, amended and looked at by it, while the street trades."""
import asyncio
import json
import re
import threading

from emulator_kit import START_MS
from feeder_kit import PASSPHRASE, Office
from prosumer_tools import image
from prosumer_tools.cli import main
from prosumer_tools.emulator.device import FrontEnd
from prosumer_tools.emulator.supervisor import Supervisor
from prosumer_tools.operator import key, link, record
from prosumer_tools.operator.desk import Desk
from prosumer_tools.street.story import Story
from street_kit import Game, play_async

SLOTS = 11


class Operated(Game):
    """The operator of this street is `prosumer feeder` in the folder `desk`."""

    def __init__(self, folder, **options):
        super().__init__(folder, sealed=True, **options)
        self.desk, self.failed, self.work, self.waits = folder / "desk", [], None, False
        self.operator = self
        self.street_toml = folder / "street.toml"

    def describe(self, names, **changes):
        numbers = {"retail_ucr_per_kwh": 250_000, **changes}
        homes = "".join(f'[[home]]\nname = "{h.name}"\npv_kwp = {h.pv_kwp}\n' for h in self.street.homes if h.name in names)
        self.street_toml.write_text('name = "Test Street"\nslot_minutes = 5\n[tariff]\n' + "".join(f"{k} = {v}\n" for k, v in numbers.items()) + homes)

    def genesis(self, street, keys, start_s, utc_offset_s=0):
        """In place of the test's own operator."""
        self.describe([h.name for h in street.homes])
        (self.out / "meters.json").write_text(json.dumps({name: k.hex() for name, k in keys.items()}))
        self.feeder("new", self.street_toml, "--keys", self.out / "meters.json", "--start", start_s)
        self.genesis_bytes = (self.desk / "genesis.bin").read_bytes()
        return self.genesis_bytes

    def envelope(self, *record_of):
        return record.envelope(key.load(self.desk / "operator.pem"), *record_of)

    def feeder(self, what, *arguments):
        if main(["feeder", what, *map(str, arguments), "--desk", str(self.desk)]):
            self.failed.append((what, *arguments))

    def _new_epoch(self, without=()):
        self.tell_the_recorder()
        return (self.desk / "keys-1-genesis-0.bin").read_bytes()

    def tell_the_recorder(self):
        """As an archive gets the keys: before the meters do."""
        self.feeder_keys.epochs.update(Desk(self.desk).keys().epochs)

    def meanwhile(self, *steps):
        """Commands one after the other, in a thread of their own; see `pace`."""
        at = ("--broker", f"127.0.0.1:{self.supervisor.broker.port}")

        def work():
            for what, *arguments in steps:
                self.feeder(what, *arguments, *(at if what in ("publish", "status", "pay") else ()))
        self.work = threading.Thread(target=work)
        self.work.start()

    async def pace(self, last=False):
        """Virtual time goes on only while the operator waits for the meters, or has done."""
        while self.work and self.work.is_alive() and (last or not self.waits):
            await asyncio.sleep(0.01)


def test_a_street_is_started_sealed_paid_amended_and_watched(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PROSUMER_OPERATOR_PASSPHRASE", PASSPHRASE)
    monkeypatch.setattr(link, "_SILENCE_S", 0.3)
    wait = link.Link.wait

    def waits(*arguments):
        game.waits = True
        try:
            return wait(*arguments)
        finally:
            game.waits = False

    monkeypatch.setattr(link.Link, "wait", waits)

    def pay(game):
        game.meanwhile(("publish", "--wait", 90), ("pay", "in", "birch", "25", "--note", "June", "--wait", 30))

    def amend(game):
        game.describe(["alder", "birch", "cedar", "dogwood"], retail_ucr_per_kwh=270_000)
        game.feeder("amend", game.street_toml)
        game.tell_the_recorder()
        game.meanwhile(("publish", "--wait", 90), ("status",))

    faults = [(slot, second, Operated.pace) for slot in range(2, SLOTS + 1) for second in range(15, 300, 20)]
    game = Operated(tmp_path, count=5, slots=SLOTS, faults=[(2, 10, pay), (6, 10, amend), *faults, (SLOTS, 299, lambda g: g.pace(True))])
    run = asyncio.run(play_async(game))
    said = capsys.readouterr().out
    assert not game.failed, said
    assert "keys of epoch 1: 5 of 5 meters have it" in said
    assert "payments up to 0: 5 of 5 meters have it" in said
    assert "elm (member 4) leaves" in said and "genesis 1: 4 of 4 meters have it" in said and "keys of epoch 2: 4 of 4 meters have it" in said
    assert "4 of 4 members online" in said
    assert run.result.ok, run.result.faults
    states = {name: run.states[name] for name in ("alder", "birch", "cedar", "dogwood")}
    assert {(s["genesis"], s["epoch"], s["operator_seq"]) for s in states.values()} == {(1, 2, 1)}
    assert len({s["final_hash"] for s in states.values()}) == 1
    story = Story(game.genesis_bytes)
    for slot in run.blocks:
        story.take((run.folder / "records" / f"block-{slot:05d}.bin").read_bytes())
    assert story.books.accounts[1].balance_ucr > 24_000_000, "what birch paid in, less what it used"
    assert (game.desk / "payments.csv").read_text().splitlines()[1].split(",")[-1].isdigit()


def test_a_key_is_read_from_a_board_and_the_board_takes_what_was_signed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PROSUMER_OPERATOR_PASSPHRASE", PASSPHRASE)
    office = Office(tmp_path, capsys, 'start = 2023-11-14T23:30:00+01:00\n[[home]]\nname = "mimosa"\npv_kwp = 3.0\n')

    async def work():
        image_path = image.build_image().path
        async with Supervisor(tmp_path / "run", image_path, START_MS, speed=1, broker="amqtt", front_end=FrontEnd(8000, 800, 60000, 2)) as bench:
            meter = bench.add("mimosa", bytes([2, 0, 0, 0, 0, 9]))
            bench.boot()
            living = asyncio.ensure_future(bench.run(START_MS + 10**9))
            port = meter.console.path
            out = await asyncio.to_thread(office.done, "new", office.street, "--read", f"mimosa={port}")
            provision = ["provision", port, "--name", "mimosa", "--broker", f"127.0.0.1:{bench.broker.port}", "--genesis",
                         office.folder / "genesis.bin", "--keys", office.folder / "keys-1-genesis-0.bin"]
            code = await asyncio.to_thread(main, [str(word) for word in provision])
            living.cancel()
            return out, code

    out, code = asyncio.run(asyncio.wait_for(work(), 180))
    said = capsys.readouterr()
    assert code == 0 and "mimosa runs" in said.out, said.err
    key_read, = re.findall(r"public key +([0-9a-f]{64})", out)
    assert json.loads(office.done("show", "--json"))["members"] == [[key_read, 1, 45, 1]]
