"""The archive beside a street: a real `prosumer archive follow`, enrolled with genesis and feeder keys as host_tools/OPERATOR.md says.

    RUN/archive.db  what it keeps      RUN/archive.log  what it says      RUN/feeder-keys.json  what it opens sealed records with
    RUN/receipt.bin, receipt.html      the day's largest sale, asked of it when the day is over, and checked with genesis.bin alone

A street that was given one has to have it: whatever is missing in the archive, or does not check, is a PlayError.
"""
import asyncio
import sys
import time

from prosumer_tools.archive import qr, receipts, words
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.database import Database, DatabaseError
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands.check_receipt import REASONS, check
from prosumer_tools.emulator.children import Children
from prosumer_tools.unixport import FirmwareError
from prosumer_tools.view import Absence, Shown, Witness

from .errors import PlayError

_START_S = _BEHIND_S = 60  # wall time
FILES = ("archive.db", "archive.db-wal", "archive.db-shm", "archive.log", "receipt.bin", "receipt.html")


class Follower:
    def __init__(self):
        self._process = None

    def command(self, game):
        broker, out = game.supervisor.broker, game.out
        keys = ["--keys", out / "feeder-keys.json"] if game.sealed else []
        return [sys.executable, "-m", "prosumer_tools.cli", "archive", "follow", out / "archive.db", "--broker", f"{broker.host}:{broker.port}",
                "--genesis", out / "genesis.bin", *keys]

    async def start(self, game):
        """Returns when it listens."""
        self.db, self.log = game.out / "archive.db", game.out / "archive.log"
        with open(self.log, "wb") as log:
            self._process = Children.start([str(word) for word in self.command(game)], stdout=log, stderr=log)
        await self._until(lambda said: "listening to" in said, _START_S, "does not listen")

    async def behind(self, game):
        """The street is over: returns when the archive has its last final block too."""
        last = max(game.recorder.final, default=-1)
        await self._until(lambda said: last < 0 or f"block {last}" in said.splitlines(), _BEHIND_S, f"does not get to block {last}")
        self.close()

    async def _until(self, there, limit_s, fault):
        deadline = time.monotonic() + limit_s
        while not there(self.log.read_text(errors="replace")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                lines = self.log.read_text(errors="replace").strip().splitlines() or ["it says nothing"]
                ended = f"ended (exit code {self._process.returncode})" if self._process.poll() is not None else fault
                raise PlayError(f"the archive beside the street {ended}: {lines[-1]}")
            await asyncio.sleep(0.05)

    def close(self):
        if self._process:
            Children.stop(self._process, grace_s=2.0)

    # -- when the day is over

    def witness(self, game):
        """Compare it with what the recorder heard, ask it for a receipt, check that, say what happened (a view.Witness)."""
        try:
            archive = Archive(Database(self.db, create=False))
            held = {slot: bytes(digest) for slot, digest in archive.db.all("SELECT slot, hash FROM blocks WHERE feeder = ?", game.feeder_id)}
            lacks = sorted(slot for slot, digest in game.recorder.final.items() if held.get(slot) != digest)
            if lacks:
                raise PlayError(f"the archive beside the street lacks {len(lacks)} of {len(game.recorder.final)} final blocks, first that of slot {lacks[0]}")
            shown = self._receipt(game, archive)
        except (DatabaseError, Refused, FirmwareError) as error:
            raise PlayError(f"the archive beside the street: {error}") from None
        return Witness(len(held), [self._absence(game, *each) for each in game.cut_off], shown)

    def _receipt(self, game, archive):
        slot, member = game.story.largest_sale() or (max(game.recorder.final) - 1, 0)
        raw = receipts.receipt(archive, game.feeder_id, member, slot)
        (game.out / "receipt.bin").write_bytes(raw)
        found, = check([raw], (game.out / "genesis.bin").read_bytes())
        if "refused" in found:
            raise PlayError(f"the receipt of slot {slot} is refused: {REASONS.get(found['refused'], found['refused'])}")
        fills = game.story.clearings[slot].fills.get(member, (0, 0)) if slot in game.story.clearings else None
        trade = found["trade"] or {"price_ucr_per_kwh": 0, "bought_mwh": 0, "sold_mwh": 0}
        if fills and (trade["bought_mwh"], trade["sold_mwh"]) != fills:
            raise PlayError(f"the receipt of slot {slot} shows another trade than the blocks")
        name = list(game.houses)[member]
        (game.out / "receipt.html").write_text(qr.page(raw, f"Receipt of {name}, slot {slot}", "\n".join([words.text(found, name), "", *qr.lines(raw)])),
                                               encoding="utf-8")
        return Shown(name, member, slot, game.story.slot(slot).start, trade["bought_mwh"], trade["sold_mwh"], trade["price_ucr_per_kwh"],
                     len(raw), found["signatures"], found["voters"])

    def _absence(self, game, home, from_s, until_s):
        member, at = list(game.houses).index(home), lambda s: game.story.time(game.profiles.start_s + s)
        last, state = max(game.recorder.final), game.recorder.states.get(home, {})
        counts = state.get("counts", {})
        missed = [s for s in game.recorder.final if from_s // game.slot_s <= s < until_s // game.slot_s]
        if state.get("final_slot", -1) < last - 1 or not counts.get("caught-up"):
            raise PlayError(f"{home} was cut off until {at(until_s)} and has not caught up: it is at slot {state.get('final_slot')}, the street at {last}")
        return Absence(home, at(from_s), at(until_s), len(missed), game.recorder.catching_up.get(member, 0), "caught-up-unproven" not in counts)
