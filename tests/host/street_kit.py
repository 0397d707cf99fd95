"""What the tests of whole streets share: a bright noon with steady loads, a few meters of the real firmware, faults at chosen times.

    run = play(tmp_path, faults=[(3, 10, lambda game: game.supervisor.kill("birch"))])
    run.blocks, run.states, run.rings, run.result (of `prosumer verify`), run.said (every machine message)
"""
import asyncio
import json
import struct

import numpy as np
from prosumer_tools.emulator.network import Network
from prosumer_tools.profiles.series import Profiles, Weather
from prosumer_tools.profiles.street import Home, Street
from prosumer_tools.street import play as playing
from prosumer_tools.verify.check import verify_run

START_S = 1_750_507_200  # 2025-06-21 12:00 UTC
SLOT_S = 300
SOLAR = {"alder": 4.0, "cedar": 3.0}
LOADS_W = {"alder": 300, "birch": 900, "cedar": 250, "dogwood": 1200, "elm": 700}
VOTE, FINALIZE = 0, 1


def street_of(count=5, slots=8, slot_s=SLOT_S):
    """(Street, Profiles) of the first `count` homes; two of them have roofs, and from the sixth on every second one."""
    names = [*LOADS_W, *(f"home{i}" for i in range(len(LOADS_W), count))][:count]
    solar = SOLAR | {n: 2.0 + i % 5 for i, n in enumerate(names) if i > 4 and i % 2}
    homes = tuple(Home(n, pv_kwp=solar.get(n, 0.0)) for n in names)
    steps = (slots + 2) * slot_s // 60
    load = {n: np.full(steps, LOADS_W.get(n, 250 + 87 * i % 1100) * 1000, np.int64) for i, n in enumerate(names)}
    pv = {n: np.full(steps, round(solar[n] * 650_000), np.int64) for n in names if n in solar}
    weather = Weather(START_S - 3600, tuple((700, 10, 24) for _ in range(6)))
    return Street(homes, "Test Street", slot_s // 60), Profiles(START_S, 60, load, pv, 0, weather)


class Game(playing.Street):
    """A street whose meters are enrolled by writing their flash while they are off, which takes a tenth of mpremote's time."""

    def __init__(self, folder, count=5, slots=8, faults=(), network=None, slot_s=SLOT_S, **options):
        """`network`: None, or options of the emulator's Network between the meters and their broker."""
        street, profiles = street_of(count, slots, slot_s)
        options.setdefault("sealed", False)  # so that forgeries meet the rules behind the seal; test_street_sealed.py plays with it
        super().__init__(street, profiles, folder, slots, say=lambda text: None, **options)
        self.network_options, self.network = network, None
        self.faults = [((START_S + slot * slot_s + second) * 1000, fault) for slot, second, fault in faults]
        self.said = []  # (virtual ms, kind, topic's member, payload)
        self.on_ready = self._overhear

    async def _enrol(self):
        if self.network_options is not None:
            self.network = Network(self.supervisor, **self.network_options)
            for home in self.street.homes:
                await self.network.attach(home.name)
        return await super()._enrol()

    async def _provision(self, name, gate):
        device = self.supervisor.devices[name]
        self.supervisor.kill(name)
        broker = self.supervisor.broker
        config = {"name": name, "channels": self.houses[name].channels, "devices": self.houses[name].devices(),
                  "broker": {"host": broker.host, "port": self._port(name)}, **({} if self.sealed else {"open": True})}
        files = {"config.json": json.dumps(config).encode()}
        files |= {name: (self.out / name).read_bytes() for name in ("genesis.bin", "keys.bin") if (self.out / name).exists()}
        device.flash.write(files)
        self.supervisor.boot(name)

    def _overhear(self, _):
        take = self.recorder.take

        def heard(topic, payload):
            parts = topic.split("/")
            if parts[0] in ("p", "b") and len(parts) == 4 and parts[3].isdigit():
                self.said.append((self.supervisor.now_ms, parts[2], int(parts[3]), payload))
            take(topic, payload)

        self.recorder.take = heard

    async def publish(self, *messages, counted=True):
        """Put raw bytes on the street's topics, as anybody can who reaches the broker: (topic below the feeder's, payload).

        A fault that returns this holds virtual time until the broker has them all.
        """
        if counted:
            self.supervisor.host_published(len(messages))
        sent = [self.client.publish(f"p/{self.feeder_id.hex()[:8]}/{topic}", payload, qos=1) for topic, payload in messages]
        await asyncio.to_thread(lambda: [each.wait_for_publish(10) for each in sent])

    def state(self, name):
        return self.recorder.states.get(name, {})

    def console(self, name):
        return self.supervisor.devices[name].console.log_path.read_text(errors="replace")


class Run:
    """A finished game and what is left of it on the disk."""

    def __init__(self, game):
        self.game, self.folder = game, game.out
        self.facts = json.loads((game.out / "run.json").read_text())
        self.states = self.facts["states"]
        self.said = game.said
        self.blocks = sorted(int(p.stem[6:]) for p in (game.out / "records").glob("block-*.bin"))
        self.rings = {}
        for path in (game.out / "records").glob("meter-*.bin"):
            raw = path.read_bytes()
            self.rings[path.stem[6:]] = [raw[i:i + 146] for i in range(4, len(raw), 146)]
        self.result = verify_run(game.out)

    def rejects(self):
        """{reason: how often, all meters together}"""
        total = {}
        for state in self.states.values():
            for code, count in state["counts"].items():
                total[code] = total.get(code, 0) + count
        return total

    def votes(self):
        """{(kind, member, iteration): set of header hashes} of all votes that were published under the member's own topic."""
        out = {}
        for _, kind, member, raw in self.said:
            if kind == "vote" and len(raw) == 103:
                what, iteration, signer = struct.unpack(">BIB", raw[1:7])
                if signer == member:
                    out.setdefault((what, member, iteration), set()).add(raw[7:39])
        return out

    def readings(self, member):
        """(slot, import, export, generation register) of the readings a member published, in order of their sequence numbers."""
        from prosumer_tools.verify import records
        found = {}
        for _, kind, sender, raw in self.said:
            if kind == "reading" and sender == member:
                r = records.Reading.read(records.Reader(raw, "reading"), "reading")
                found[r.seq] = r
        return [found[seq] for seq in sorted(found)]


async def play_async(game, limit_s=240):
    await asyncio.wait_for(game.run(), limit_s)
    return Run(game)


def play(folder, limit_s=240, **options):
    return asyncio.run(play_async(Game(folder, **options), limit_s))
