"""What the tests of `prosumer feeder` share: a desk in a folder, and meters at a real broker that say what a meter says."""
import json
import threading

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prosumer_tools.cli import main

STREET = """
name = "Rue des Oliviers"
slot_minutes = 15
start = 2026-07-01T00:00:00+02:00
[tariff]
retail_ucr_per_kwh = 250_000
feed_in_ucr_per_kwh = 60_000
local_fee_ucr_per_kwh = 20_000
[feeder]
import_limit_kw = 12.0
export_limit_kw = 9.0
[[home]]
name = "mimosa"
pv_kwp = 3.0
[[home]]
name = "olivier"
battery = {capacity_kwh = 5.0, power_kw = 2.5}
[[home]]
name = "cypres"
fuse_a = 30
phase = 0
"""
START_S = 1_782_856_800
PASSPHRASE = "six words that nobody else says"


def public():
    return Ed25519PrivateKey.generate().public_key().public_bytes_raw()


class Office:
    """The folder of one feeder, and `prosumer feeder …` in it."""

    def __init__(self, folder, capsys, street=STREET):
        self.folder, self.capsys = folder, capsys
        self.street, self.keys = folder / "street.toml", folder / "meters.json"
        self.write(street)
        self.bring(mimosa=public(), olivier=public(), cypres=public())

    def write(self, text):
        self.street.write_text(text)

    def bring(self, **keys):
        self.keys.write_text(json.dumps({name: key.hex() for name, key in keys.items()}))

    def __call__(self, what, *arguments):
        """(exit code, what it printed, what it complained)."""
        code = main(["feeder", what, *map(str, arguments), "--desk", str(self.folder)])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def done(self, what, *arguments):
        """What it printed; it must have gone well."""
        code, out, err = self(what, *arguments)
        assert code == 0, err
        return out

    def refused(self, what, *arguments):
        """Why it did not do it; nothing in the folder may have changed."""
        before = self.files()
        code, _, err = self(what, *arguments)
        assert code == 2 and err.startswith("prosumer feeder: ") and err.count("\n") == 1, err
        assert self.files() == before
        return err

    def files(self):
        return {p.name: p.read_bytes() for p in sorted(self.folder.iterdir()) if p.is_file()}

    def new(self):
        return self.done("new", self.street, "--keys", self.keys)


class Meter:
    """A client at the broker that takes up what the operator sends and says so as a meter does; `deaf` to some kinds."""

    def __init__(self, port, feeder_id, name, deaf=()):
        self.name, self.deaf, self.heard = name, deaf, []
        self.state = {"slot": 7, "final_slot": 6, "final_hash": "ab" * 32, "genesis": 0, "epoch": 0, "operator_seq": 0,
                      "power_mw": {"grid": 1_234_000}, "balance_ucr": -4_530_000, "counts": {"bad-seal": 3, "timeout": 1}}
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)
        self.client.will_set(f"prosumer/{name}/availability", b"offline", retain=True)
        ready = threading.Event()
        self.client.on_connect = lambda c, *_: c.subscribe(f"p/{feeder_id[:8]}/#", 1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = self._message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(10)
        self.client.publish(f"prosumer/{name}/availability", b"online", qos=1, retain=True).wait_for_publish(5)
        self.tell().wait_for_publish(5)

    def tell(self):
        return self.client.publish(f"prosumer/{self.name}/state", json.dumps(self.state), qos=1, retain=True)

    def _message(self, client, _, message):
        parts, raw = message.topic.split("/"), message.payload
        if parts[0] != "p":
            return  # amqtt hands a new client what others have subscribed to, if it is retained
        kind = parts[2]
        self.heard.append((kind, raw, message.retain))
        if kind in self.deaf:
            return
        if kind == "genesis":
            number = int.from_bytes(raw[1:3], "big")
            if number == self.state["genesis"] + 1:     # a block takes only the next one
                self.state["genesis"] = number
        elif kind == "keys":
            self.state["epoch"] = int.from_bytes(raw[1:3], "big")
        elif kind == "transfer":
            self.state["operator_seq"] += 1
            self.state["final_slot"] += 1
        self.tell()

    def leave(self):
        self.client.publish(f"prosumer/{self.name}/availability", b"offline", qos=1, retain=True).wait_for_publish(5)
        self.client.disconnect()
        self.client.loop_stop()
