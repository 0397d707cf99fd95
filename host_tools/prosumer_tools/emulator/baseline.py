"""The same street without the market: the same devices, each house for itself, the utility's tariff only.

Greedy self-consumption: the battery takes the house's own surplus and gives when the house draws, the car charges at full
power from the moment it is plugged in.
"""
from dataclasses import dataclass

from .plant import Plant


@dataclass(frozen=True)
class SlotEnergy:
    """Energy of one home in one slot, mWh; battery_mwh: into the battery (negative: out of it)."""
    import_mwh: int
    export_mwh: int
    generation_mwh: int
    battery_mwh: int


@dataclass(frozen=True)
class Alone:
    """A home's day without the market; the last two say what it leaves behind (a day ended on a full battery was dearer)."""
    slots: list
    battery_change_mwh: int
    ev_missing_mwh: int


def baseline(street, profiles, slots=None):
    """{home: Alone} from the start of the profiles on; all whole slots unless `slots` says how many."""
    slot_ms = street.slot_minutes * 60_000
    whole = (profiles.end_s - profiles.start_s) * 1000 // slot_ms
    count = whole if slots is None else min(slots, whole)
    return {home.name: _play(Plant(home, profiles), slot_ms, count) for home in street.homes}


def money_ucr(energies, tariff):
    """What a home pays the utility (negative: earns) for a list of SlotEnergy; each slot rounded in the utility's favour."""
    total = 0
    for each in energies:
        total += -(-each.import_mwh * tariff.retail_ucr_per_kwh // 1_000_000)
        total -= each.export_mwh * tariff.feed_in_ucr_per_kwh // 1_000_000
    return total


def _play(plant, slot_ms, count):
    out, before, start = [], plant.energy_mwh(), plant.now_ms
    full_at_start = plant.state(start).get("battery_soc_mwh", 0)
    for slot in range(count):
        end = start + (slot + 1) * slot_ms
        while plant.now_ms < end:
            _use_own(plant)
            plant.advance(min(plant.next_event_ms(), end))
        now = plant.energy_mwh()
        change = {key: now[key] - before[key] for key in now}
        out.append(SlotEnergy(change["import"], change["export"], change["pv"], change["battery_in"] - change["battery_out"]))
        before = now
    state = plant.state(plant.now_ms)
    stored = state.get("battery_soc_mwh", 0) - full_at_start
    return Alone(out, stored, plant.ev_missing_mwh())


def _use_own(plant):
    """Sets the battery against the house's own balance."""
    if plant.home.battery:
        flows = plant.powers_mw(plant.now_ms)
        plant.set_power("battery", flows["battery"] - flows["grid"], plant.now_ms)
