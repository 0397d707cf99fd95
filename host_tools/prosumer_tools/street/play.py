"""Flash, boot, enrol and play a street of emulated meters, and record what they agree on.

The host plays the world around the meters (plant, weather service, grid operator, time); it takes no part in
clearing, signing readings or agreeing.
"""
import asyncio
import hashlib
import json
import re
import struct
import sys
import time
from pathlib import Path

import paho.mqtt.client as mqtt

from prosumer_tools import image
from prosumer_tools.emulator.network import Network
from prosumer_tools.emulator.supervisor import Supervisor
from prosumer_tools.feederkeys import OPERATOR, FeederKeys
from prosumer_tools.street import genesis as operators
from prosumer_tools.street.errors import PlayError
from prosumer_tools.street.recorder import Recorder
from prosumer_tools.street.source import House

_BEFORE_S = 60    # the meters are up this long before the first slot
_ENROL_S = 60     # wall time an enrolment may take
_RING_ENTRY = 146 + 8
_POWER_BACK_S = 2  # wall time until a meter that somebody killed has its power back


class Street:
    """One run of a street into the folder `out`. `say(text)`: progress before the first slot. `sealed`: see feederkeys."""

    def __init__(self, street, profiles, out, slots=None, speed=0, broker="amqtt", port=0, window_ms=None, say=print, sealed=True):
        self.street, self.profiles, self.out, self.say = street, profiles, Path(out), say
        self.slot_s = street.slot_minutes * 60
        whole = (profiles.end_s - profiles.start_s) // self.slot_s
        self.slots = min(slots or whole, whole)
        if self.slots < 1:
            raise PlayError(f"the profiles are shorter than one slot of {street.slot_minutes} minutes")
        self.sealed = sealed
        self.speed, self.broker_kind, self.port = speed, broker, port
        self.houses = {h.name: House(h, profiles, street.seed, window_ms) for h in street.homes}
        self.operator = operators.Operator()
        self.events = []          # (slot, import_limit_kw, export_limit_kw, slots): demand response
        self.requests = []        # (slot, home, what its owner asks of the meter: coins given or retired)
        self.payments = []        # (slot, home, ucr, note): booked by the operator; negative: paid out
        self.recorder = None
        self.note = ""            # one sentence: where the profiles come from
        self.battery_mwh = {}     # slot → [energy into each home's battery], for the pictures
        self._retained = {}       # kind → the operator's or weather service's last word
        self.windows = {}         # (slot, member) → first bytes of a window of samples, for the pictures
        self.on_ready = lambda run: None
        self.faults = []          # (now_ms, function(run)): what tests and the soak do to the street
        self.cut_off = []         # (home, from_s, until_s): its meter has no network then, in seconds from the first slot on
        self.network = None       # between those meters and the broker
        self.follower = None      # a Follower beside the street

    async def run(self):
        """Play it to the end; returns the folder. Raises PlayError, BrokerError, ImageError with a reason."""
        began = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        self.say("building the firmware image")
        built = image.build_image()
        start_ms = (self.profiles.start_s - _BEFORE_S) * 1000
        async with Supervisor(self.out / "emulator", built.path, start_ms, speed=0, broker=self.broker_kind, port=self.port,
                              power_back_s=_POWER_BACK_S) as self.supervisor:
            sup = self.supervisor
            sup.sample_source = self._samples
            sup.plant_state = lambda device, now: self.houses[device.name].state(now)
            sup.on_actuator = lambda device, name_id, mw, now: self.houses[device.name].actuate(name_id, mw, now)
            self.genesis = await self._enrol()
            self._listen()
            if self.follower:
                self.say("an archive follows them (prosumer archive follow)")
                await self.follower.start(self)
            for slot in range(self.slots + 1):
                self._at_slot(slot, lambda slot=slot: self._note_batteries(slot))
            for home, *span in self.cut_off:
                for after_s, change in zip(span, (self.network.down, self.network.up)):
                    sup.at((self.profiles.start_s + after_s) * 1000, lambda home=home, change=change: change(home))
            for when_ms, fault in self.faults:
                sup.at(when_ms, lambda fault=fault: fault(self))
            self.say("the street trades")
            self.on_ready(self)
            sup.speed = self.speed
            ready = time.monotonic()
            await sup.run((self.profiles.start_s + (self.slots + 1) * self.slot_s) * 1000)
            self.played_s = time.monotonic() - ready
            self.stored_mwh = {n: h.state(sup.now_ms)[0] for n, h in self.houses.items()}
            figures = {name: device.counters() for name, device in sup.devices.items()}
            lost = sup.clock.lost
            await asyncio.sleep(0.2)  # the recorder's last messages
            if self.follower:
                await self.follower.behind(self)
            self.client.loop_stop()
            self.client.disconnect()
        self._keep(built, figures, lost, began)
        return self.out

    def _samples(self, device, now_ms):
        taken = self.houses[device.name].samples(now_ms, device.sampled_ms)
        slot = (now_ms // 1000 - self.profiles.start_s) // self.slot_s
        self.windows[slot, list(self.houses).index(device.name)] = taken[0][:48]
        return taken

    def _note_batteries(self, slot):
        now = [h.battery_in_mwh(self.supervisor.now_ms) for h in self.houses.values()]
        before = getattr(self, "_batteries", now)
        self.battery_mwh[slot - 1] = [a - b for a, b in zip(now, before)]
        self._batteries = now

    # -- before the first slot

    async def _enrol(self):
        """First boot makes the keys; the operator signs a genesis over them; real mpremote brings it to every meter."""
        sup, names = self.supervisor, [h.name for h in self.street.homes]
        if self.cut_off and not self.network:
            self.network = Network(sup)
        for name in {home for home, *_ in self.cut_off} - set(self.network.lines if self.network else ()):
            await self.network.attach(name)
        for name in names:
            sup.add(name, hashlib.sha256(f"{self.street.seed}/{name}".encode()).digest()[:6], front_end=self.houses[name].front_end)
        self.say(f"{len(names)} meters boot and make their keys")
        sup.boot()
        keys = dict(zip(names, await asyncio.gather(*[self._key(n) for n in names])))
        record = self.operator.genesis(self.street, keys, self.profiles.start_s, self.profiles.utc_offset_s)
        (self.out / "genesis.bin").write_bytes(record)
        self.feeder_id = operators.feeder_id(record)
        self.member_keys = list(keys.values())
        self.feeder_keys = FeederKeys(self.feeder_id, {})
        if self.sealed:
            (self.out / "keys.bin").write_bytes(self._new_epoch())
        self.say("enrolling them over their serial ports (mpremote)")
        gate = asyncio.Semaphore(4)
        await asyncio.gather(*[self._provision(n, gate) for n in names])
        return record

    async def _key(self, name):
        deadline = time.monotonic() + _ENROL_S
        device = self.supervisor.devices[name]
        log = device.console.log_path
        while time.monotonic() < deadline:
            found = re.search(r"meter ([0-9a-f]{64})", log.read_text(errors="replace")) if log.exists() else None
            if found:
                return bytes.fromhex(found.group(1))
            if device.state == "repl":  # main.py ended without showing one
                break
            await asyncio.sleep(0.05)
        raise PlayError(f"{name} did not show its key; its console: {log}")

    async def _provision(self, name, gate):
        folder = self.supervisor.devices[name].folder
        config = folder / "config.json"
        config.write_text(json.dumps({
            "name": name, "channels": self.houses[name].channels, "devices": self.houses[name].devices(),
            "broker": {"host": self.supervisor.broker.host, "port": self._port(name)}, **({} if self.sealed else {"open": True})}))
        files = {config: "config.json", **{self.out / n: n for n in ("genesis.bin", "keys.bin") if (self.out / n).exists()}}
        async with gate:
            await mpremote(self.supervisor.devices[name].console.path,
                           *[word for path, name in files.items() for word in ("fs", "cp", str(path), f":/{name}", "+")], "reset")

    def _port(self, name):
        """Where a meter finds the broker."""
        line = self.network and self.network.lines.get(name)
        return line.port if line else self.supervisor.broker.port

    def _new_epoch(self, without=()):
        """A new feeder key as a signed Keys record for all members but those in `without`; the operator's file of keys has it too."""
        self.feeder_keys.rotate()
        self.feeder_keys.save(self.out / "feeder-keys.json")
        return self.feeder_keys.record(self.operator.sign, [None if i in without else k for i, k in enumerate(self.member_keys)])

    def rotate(self, without=()):
        """Members changed: publish the next epoch's key, and again, under it, what the broker retains for those who come later."""
        kept = self._retained
        self._retained = {"keys": self._new_epoch(without)} | {k: v for k, v in kept.items() if k != "keys"}
        for kind in self._retained:
            self._retain(kind)

    def _listen(self):
        loop = asyncio.get_running_loop()
        self.recorder = Recorder(self.out, self.feeder_id, self.genesis, self.feeder_keys)
        broker = self.supervisor.broker
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="recorder")
        self.client.on_connect = lambda c, *_: (c.subscribe([(f"{way}/{self.feeder_id.hex()[:8]}/#", 1) for way in "pb"]), c.subscribe("prosumer/+/state", 0),
                                                loop.call_soon_threadsafe(self._retain_again))
        self.client.on_message = lambda c, u, m: loop.call_soon_threadsafe(self._heard, m.topic, m.payload)
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        if self.sealed:
            self._publish("keys", (self.out / "keys.bin").read_bytes())
        weather = self.profiles.weather
        if weather:
            self._publish("weather", json.dumps({"start_s": weather.start_s + 1800, "irradiance": [h[0] for h in weather.hours]}).encode())
        feeder = self.street.feeder
        self._envelope(0, self.slots + 2, feeder.import_limit_kw, feeder.export_limit_kw)
        for slot, import_kw, export_kw, count in self.events:
            self._at_slot(slot - 1, lambda s=slot, i=import_kw, e=export_kw, n=count: self._envelope(s, s + n - 1, i, e))
            self._at_slot(slot + count - 1, lambda s=slot + count: self._envelope(s, self.slots + 2, feeder.import_limit_kw, feeder.export_limit_kw))
        for slot, name, wish in self.requests:
            self._at_slot(slot, lambda n=name, w=wish: self.client.publish(f"prosumer/{n}/set", json.dumps(w), qos=1))
        names = list(self.houses)
        for seq, (slot, name, ucr, note) in enumerate(self.payments):
            payment = self.operator.payment(self.feeder_id, seq, names.index(name), ucr, note)
            self._at_slot(slot, lambda p=payment: self._say("transfer", p))

    def _say(self, kind, payload):
        """What the operator says once."""
        self.supervisor.host_published(1)
        self.client.publish(f"p/{self.feeder_id.hex()[:8]}/{kind}/{OPERATOR}", self.feeder_keys.seal(kind, OPERATOR, payload), qos=1)

    def _heard(self, topic, payload):
        try:
            self.recorder.take(topic, payload)
        except OSError as error:  # a disk that is full: a run without its records is of no use
            self.supervisor.at(self.supervisor.now_ms, lambda error=error: _raise(error))

    def _at_slot(self, slot, function):
        self.supervisor.at((self.profiles.start_s + slot * self.slot_s) * 1000 + 1, function)

    def _envelope(self, first, last, import_kw, export_kw):
        mwh = [round(kw * 1e6) * self.slot_s // 3600 for kw in (import_kw, export_kw)]
        self._publish("envelope", self.operator.envelope(self.feeder_id, first, last, *mwh))

    def _publish(self, kind, payload):
        self._retained[kind] = payload
        self._retain(kind).wait_for_publish(5)

    def _retain(self, kind):
        self.supervisor.host_published(1)
        payload = self.feeder_keys.seal(kind, OPERATOR, self._retained[kind])
        return self.client.publish(f"p/{self.feeder_id.hex()[:8]}/{kind}/{OPERATOR}", payload, qos=1, retain=True)

    def _retain_again(self):
        """After an outage of the broker, which remembers nothing."""
        for kind in self._retained:
            self._retain(kind)

    # -- after the last slot

    def _keep(self, built, figures, lost, began):
        for name in self.houses:
            headers = ring_headers(self.out / "emulator" / "devices" / name / "flash.bin")
            (self.out / "records" / f"meter-{name}.bin").write_bytes(struct.pack(">I", len(headers)) + b"".join(headers))
        self.recorder.write_manifest()
        homes = [{"name": h.name, "member": i, "kind": h.kind, "pv_kwp": h.pv_kwp, "battery_kwh": h.battery.capacity_kwh if h.battery else 0,
                  "ev": bool(h.ev), "stored_mwh": self.stored_mwh[h.name],
                  "stored_at_start_mwh": round(h.battery.capacity_kwh * 1e6) * h.battery.initial_percent // 100 if h.battery else 0}
                 for i, h in enumerate(self.street.homes)]
        (self.out / "run.json").write_text(json.dumps({
            "street": self.street.name, "slot_minutes": self.street.slot_minutes, "slots": self.slots, "start_s": self.profiles.start_s,
            "utc_offset_s": self.profiles.utc_offset_s, "note": self.note, "homes": homes, "wall_s": round(time.monotonic() - began, 1),
            "played_s": round(self.played_s, 1), "messages": self.recorder.messages, "message_bytes": self.recorder.bytes,
            "epoch": self.feeder_keys.epoch, "cut_off": self.cut_off, "not_opened": self.recorder.refused,
            "lost_clock": lost, "devices": figures, "states": self.recorder.states, "mpy_bytes": built.packages}, indent=1))


def _raise(error):
    raise error


def ring_headers(flash_path):
    """The header ring a meter keeps in its own flash, oldest first (146 bytes each)."""
    fs = image.filesystem(flash_path.read_bytes())
    out = []
    try:
        names = sorted(fs.listdir("/data/headers"))
    except Exception:
        return out
    for name in names:
        if re.fullmatch(r"[0-9a-f]{8}", name):
            with fs.open(f"/data/headers/{name}", "rb") as f:
                data = f.read()
            out += [data[i:i + 146] for i in range(0, len(data) - _RING_ENTRY + 1, _RING_ENTRY)]
    return out


async def mpremote(port, *command):
    """Run the real mpremote; PlayError with its last line if it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mpremote", "connect", port, "resume", *command, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _ENROL_S)
    except (asyncio.TimeoutError, asyncio.CancelledError):
        process.kill()
        raise PlayError(f"mpremote did not come back from {port}") from None
    if process.returncode:
        lines = output.decode(errors="replace").strip().splitlines()
        raise PlayError(f"mpremote on {port}: {lines[-1] if lines else 'failed'}")
    return output.decode(errors="replace")
