"""A street slot by slot: homes in two processes of the Unix port, clearing and settlement in a third, at the same time.

While slot k delivers, the orders of k + 1 (made in k - 1) are cleared and slot k - 1 is settled, as in block k. A meter hears the price
of k + 1 after it made its order for k + 2. The same street, profiles and seed give the same run to the last micro-credit.
"""
import hashlib
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from prosumer_tools.street.genesis import Operator
from prosumer_tools.unixport import FirmwareSession

_HERE = Path(__file__).parent
_PROCESSES = 2
_HEAP = "64M"   # no meter's: several homes in one process, collected seldom


@dataclass
class Played:
    """Arrays over slots (and homes), mWh and ucr; money is a change of the account, positive: earned."""

    net: np.ndarray
    made: np.ndarray
    battery: np.ndarray
    net_alone: np.ndarray
    made_alone: np.ndarray
    bought: np.ndarray
    sold: np.ndarray
    money: np.ndarray
    money_alone: np.ndarray
    price: np.ndarray
    congestion: np.ndarray
    volume: np.ndarray
    feeder_ucr: np.ndarray
    shared: np.ndarray   # of the feeder account, to each home: in its money already
    short_mwh: list      # what cars did not get by their time, per home
    stored_mwh: list     # in each battery at the end


class UnbalancedError(Exception):
    """A slot's entries do not add up to zero: never, unless the firmware is wrong."""


def play(street, profiles, slots, progress=lambda done, of: None):
    """Plays it; `Played`. Raises FirmwareError."""
    slot_s, n = street.slot_minutes * 60, len(street.homes)
    genesis = _genesis(street, profiles.start_s, profiles.utc_offset_s)
    limits = [round(kw * 1e6) * slot_s // 3600 for kw in (street.feeder.import_limit_kw, street.feeder.export_limit_kw)]
    grid = {name: np.zeros((slots, n), np.int64) for name in
            ("net", "made", "battery", "net_alone", "made_alone", "bought", "sold", "money", "money_alone")}
    line = {name: np.zeros(slots, np.int64) for name in ("price", "congestion", "volume", "feeder_ucr", "shared")}
    short, stored = [0] * n, [0] * n
    none = [street.tariff.retail_ucr_per_kwh, 0, 0, 0, 0, []]
    with tempfile.TemporaryDirectory() as folder:
        homes = _homes(street, profiles, Path(folder))
        crews = [_start("houses.py", {"genesis": genesis, "utc_offset_s": profiles.utc_offset_s, "homes": part}) for part in _share(homes)]
        pool = _start("pool.py", {"genesis": genesis})
        try:
            cleared, orders, delivered = none, [], None   # cleared: of the slot that delivers
            for slot in range(slots):
                said = _weather(profiles, slot, slot_s)
                question = json.dumps([slot, cleared[0] if slot else None, cleared[5], limits, said])
                for crew in crews:
                    crew.send(question)
                pool.send(json.dumps([slot + 1, limits, orders, delivered]))
                following, settled = json.loads(pool.receive())
                if delivered:
                    _book(grid, line, slot - 1, settled)
                rows = sorted(row for crew in crews for row in json.loads(crew.receive()))
                for m, net, made, alone, made_alone, battery, _, full, missed, _, _ in rows:
                    grid["net"][slot, m], grid["made"][slot, m], grid["battery"][slot, m] = net, made, battery
                    grid["net_alone"][slot, m], grid["made_alone"][slot, m] = alone, made_alone
                    short[m], stored[m] = missed, full
                for m, b, s in cleared[5]:
                    grid["bought"][slot, m], grid["sold"][slot, m] = b, s
                line["price"][slot], line["congestion"][slot], line["volume"][slot] = cleared[:3]
                fills = {m: (b, s) for m, b, s in cleared[5]}
                delivered = [cleared[0], cleared[3], cleared[4], cleared[1], cleared[2],
                             [[row[0], *fills.get(row[0], (0, 0)), row[1], row[3]] for row in rows]]
                orders = [[row[0], row[9], row[10]] for row in rows if row[9] or row[10]]
                cleared = following
                progress(slot + 1, slots)
            _book(grid, line, slots - 1, json.loads(pool.ask(json.dumps([slots + 1, limits, [], delivered])))[1])
        finally:
            for session in (*crews, pool):
                session.close()
    return Played(**grid, **line, short_mwh=short, stored_mwh=stored)


def _start(script, setup):
    session = FirmwareSession((_HERE / script).read_text(encoding="utf-8"), _HEAP)
    session.ask(json.dumps(setup))
    return session


def _book(grid, line, slot, settled):
    money, feeder, total, share = settled
    if total:
        raise UnbalancedError(f"slot {slot}: the accounts add up to {total} micro-credits")
    grid["money"][slot], grid["money_alone"][slot] = zip(*money, strict=True)
    line["feeder_ucr"][slot], line["shared"][slot] = feeder, share


def _genesis(street, start_s, utc_offset_s):
    """A real genesis, its keys drawn from the seed: the firmware reads tariff, limits and fuses from it."""
    def seed(name):
        return hashlib.sha256(f"simulate/{street.seed}/{name}".encode()).digest()
    keys = {h.name: Ed25519PrivateKey.from_private_bytes(seed(h.name)).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            for h in street.homes}
    return Operator(seed("operator/")).genesis(street, keys, start_s, utc_offset_s).hex()


def _homes(street, profiles, folder):
    """What houses.py needs to know of each home; its series lie in files of 32-bit mW a minute."""
    out, repeat = [], profiles.step_s // 60
    for i, home in enumerate(street.homes):
        spec = {"member": i, "stored_mwh": 0, "devices": {}, "pv": ""}
        for kind, series in (("load", profiles.load_mw), ("pv", profiles.pv_mw)):
            if home.name in series:
                spec[kind] = str(folder / f"{i}.{kind}")
                np.repeat(series[home.name], repeat).astype("<i4").tofile(spec[kind])
        if home.battery:
            capacity = round(home.battery.capacity_kwh * 1e6)
            spec["stored_mwh"] = capacity * home.battery.initial_percent // 100
            spec["devices"]["battery"] = {"capacity_mwh": capacity, "power_mw": round(home.battery.power_kw * 1e6),
                                          "efficiency_permille": round(1000 * math.sqrt(home.battery.efficiency_percent / 100))}
        if home.ev:
            spec["devices"]["ev"] = {"power_mw": round(home.ev.power_kw * 1e6)}
            spec["from_s"], spec["until_s"] = home.ev.window_s()
            spec["need_mwh"] = round(home.ev.need_kwh * 1e6)
        if home.pv_kwp:
            spec["devices"]["pv"] = {"peak_mw": round(home.pv_kwp * 1e6)}
        out.append(spec)
    return out


def _share(homes):
    """Homes with devices take longest: dealt out first."""
    heavy = sorted(homes, key=lambda h: -2 * ("battery" in h["devices"]) - ("ev" in h["devices"]))
    return [part for part in (heavy[i::_PROCESSES] for i in range(_PROCESSES)) if part]


def _weather(profiles, slot, slot_s):
    """At each midnight of the run the hourly forecast of the next three days, from the hour before on."""
    if not profiles.weather or slot * slot_s % 86400:
        return None
    hours, now_s = profiles.weather.hours, profiles.start_s + slot * slot_s
    first = max(0, (now_s - profiles.weather.start_s) // 3600 - 1)
    return {"start_s": profiles.weather.start_s + first * 3600 + 1800, "irradiance": [h[0] for h in hours[first:first + 73]]}
