"""What follows from a run: sums over the street with the market and without it.

Counted so that the two can be compared:
- *neighbours*: energy that was both traded and delivered, per slot min(traded, metered exports, metered imports).
- *self-consumption*: part of the street's generation that was used in the street. Without the market that is what each house
  used of its own; with it, what neighbours bought comes in addition. *Self-sufficiency* is the same energy over consumption.
- consumption = import - export + generation - charge of the battery, so the battery itself consumes nothing.
"""
from dataclasses import dataclass, replace

from .data import HomeSlot, SlotData


@dataclass(frozen=True)
class Totals:
    """Energies in mWh, money in micro-credits, parts 0..1 (None where there is nothing to divide by)."""
    traded_mwh: int
    neighbours_mwh: int
    generation_mwh: int
    consumption_mwh: int
    import_mwh: int            # sum over the homes, from neighbours and utility
    export_mwh: int
    feeder_import_mwh: int
    feeder_export_mwh: int
    feeder_import_alone_mwh: int
    feeder_export_alone_mwh: int
    self_consumption: float | None
    self_consumption_alone: float | None
    self_sufficiency: float | None
    self_sufficiency_alone: float | None
    paid_ucr: int
    paid_alone_ucr: int
    mean_price_ucr_per_kwh: int | None     # weighted by volume
    traded_slots: int
    void_slots: int
    over_limit_slots: int
    over_limit_alone_slots: int
    peak_over_alone_mwh: int               # worst slot without the market: how far over the envelope
    missing_readings: int
    green_mwh: int

    @property
    def saved_ucr(self):
        return self.paid_alone_ucr - self.paid_ucr


def totals(run):
    """Totals of a RunData."""
    slots, homes = run.slots, run.homes
    with_market = [each for slot in slots for each in slot.homes]
    alone = [each for home in homes for each in home.alone]
    neighbours = sum(neighbours_mwh(slot) for slot in slots)
    made, made_alone = (sum(each.generation_mwh for each in part) for part in (with_market, alone))
    used, used_alone = (sum(each.used_mwh for each in part) for part in (with_market, alone))
    own = made - sum(each.export_mwh for each in with_market)
    own_alone = made_alone - sum(each.export_mwh for each in alone)
    net_alone = feeder_alone_mwh(run)
    priced = [slot for slot in slots if slot.price_ucr_per_kwh is not None and slot.volume_mwh]
    volume = sum(slot.volume_mwh for slot in priced)
    over = [_over(slot.feeder_import_mwh - slot.feeder_export_mwh, slot) for slot in slots]
    over_alone = [_over(net, slot) for net, slot in zip(net_alone, slots)]
    return Totals(
        traded_mwh=sum(slot.volume_mwh for slot in slots), neighbours_mwh=neighbours,
        generation_mwh=made, consumption_mwh=used,
        import_mwh=sum(each.import_mwh for each in with_market), export_mwh=sum(each.export_mwh for each in with_market),
        feeder_import_mwh=sum(slot.feeder_import_mwh for slot in slots), feeder_export_mwh=sum(slot.feeder_export_mwh for slot in slots),
        feeder_import_alone_mwh=sum(max(net, 0) for net in net_alone), feeder_export_alone_mwh=sum(max(-net, 0) for net in net_alone),
        self_consumption=_part(own + neighbours, made), self_consumption_alone=_part(own_alone, made_alone),
        self_sufficiency=_part(own + neighbours, used), self_sufficiency_alone=_part(own_alone, used_alone),
        paid_ucr=sum(home.paid_ucr for home in homes), paid_alone_ucr=sum(home.paid_alone_ucr for home in homes),
        mean_price_ucr_per_kwh=sum(slot.volume_mwh * slot.price_ucr_per_kwh for slot in priced) // volume if volume else None,
        traded_slots=len(priced), void_slots=sum(slot.void for slot in slots),
        over_limit_slots=sum(x > 0 for x in over), over_limit_alone_slots=sum(x > 0 for x in over_alone),
        peak_over_alone_mwh=max(over_alone, default=0), missing_readings=sum(each.missing for each in with_market),
        green_mwh=sum(home.green_mwh for home in homes))


def condensed(run, most=400):
    """The run with neighbouring slots joined until there are at most `most`, for drawing; the run itself if there are few."""
    size = -(-len(run.slots) // most)
    if size <= 1:
        return run
    groups = [range(i, min(i + size, len(run.slots))) for i in range(0, len(run.slots), size)]
    homes = [replace(home, alone=[_join([home.alone[i] for i in group]) for group in groups] if home.alone else []) for home in run.homes]
    return replace(run, slot_minutes=run.slot_minutes * size, homes=homes, slots=[_join_slots([run.slots[i] for i in group]) for group in groups])


def _join(rows):
    """One HomeSlot of several; trades count where they were delivered."""
    return HomeSlot(sum(r.import_mwh for r in rows), sum(r.export_mwh for r in rows), sum(r.generation_mwh for r in rows),
                    sum(min(r.bought_mwh, r.import_mwh) for r in rows), sum(min(r.sold_mwh, r.export_mwh) for r in rows),
                    sum(r.battery_mwh for r in rows), any(r.missing for r in rows))


def _join_slots(slots):
    sums = {key: sum(getattr(slot, key) for slot in slots) for key in
            ("volume_mwh", "feeder_import_mwh", "feeder_export_mwh", "limit_import_mwh", "limit_export_mwh")}
    priced = [slot for slot in slots if slot.price_ucr_per_kwh is not None]
    weight = sum(slot.volume_mwh for slot in priced)
    price = sum(slot.price_ucr_per_kwh * slot.volume_mwh for slot in priced) // weight if weight else None
    return SlotData(slots[0].slot, slots[0].start, price, homes=[_join(rows) for rows in zip(*(slot.homes for slot in slots))],
                    void=all(slot.void for slot in slots), **sums)


def neighbours_mwh(slot):
    """Energy that went from neighbour to neighbour in a slot: traded and really delivered."""
    return min(slot.volume_mwh, sum(each.export_mwh for each in slot.homes), sum(each.import_mwh for each in slot.homes))


def feeder_alone_mwh(run):
    """Net energy at the transformer per slot without the market, import positive; [] when the baseline is not known."""
    if not run.homes or any(len(home.alone) < len(run.slots) for home in run.homes):
        return []
    return [sum(home.alone[i].import_mwh - home.alone[i].export_mwh for home in run.homes) for i in range(len(run.slots))]


def home_energy(run, i):
    """Sums of home i over the run: {imported, exported, generated, bought, sold}_mwh; bought and sold as delivered."""
    rows = [slot.homes[i] for slot in run.slots]
    return {"imported_mwh": sum(r.import_mwh for r in rows), "exported_mwh": sum(r.export_mwh for r in rows),
            "generated_mwh": sum(r.generation_mwh for r in rows),
            "bought_mwh": sum(min(r.bought_mwh, r.import_mwh) for r in rows),
            "sold_mwh": sum(min(r.sold_mwh, r.export_mwh) for r in rows)}


def _over(net, slot):
    """How far a net energy lies outside the slot's envelope; 0 inside."""
    return max(net - slot.limit_import_mwh, -net - slot.limit_export_mwh, 0)


def _part(part, whole):
    return part / whole if whole else None
