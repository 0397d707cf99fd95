"""What came of a simulation: money, energy, prices by hour and month; JSON and CSV.

Money is in micro-credits in the files; *paid* is positive when a home pays. *neighbours* is energy that was traded and delivered,
per slot min(traded, exports, imports); self-consumption is the part of the street's generation that was used in the street.
"""
import csv
import json

import numpy as np


def _sum(a):
    return int(a.sum())


def summary(street, profiles, played, seconds):
    """Everything the report says, as plain numbers."""
    p, slot_s = played, street.slot_minutes * 60
    limits = [round(kw * 1e6) * slot_s // 3600 for kw in (street.feeder.import_limit_kw, street.feeder.export_limit_kw)]
    neighbours = np.minimum(p.volume, np.minimum(np.maximum(p.net, 0).sum(axis=1), np.maximum(-p.net, 0).sum(axis=1)))
    slots = len(p.price)
    homes = [{"name": h.name, "kind": h.kind, "pv_kwp": h.pv_kwp, "battery_kwh": h.battery.capacity_kwh if h.battery else 0,
              "ev": bool(h.ev),
              "paid_ucr": -_sum(p.money[:, i]), "paid_alone_ucr": -_sum(p.money_alone[:, i]),
              "saved_ucr": _sum(p.money[:, i]) - _sum(p.money_alone[:, i]),
              "imported_mwh": _sum(np.maximum(p.net[:, i], 0)), "exported_mwh": _sum(np.maximum(-p.net[:, i], 0)),
              "generated_mwh": _sum(p.made[:, i]), "bought_mwh": _sum(p.bought[:, i]), "sold_mwh": _sum(p.sold[:, i]),
              "car_short_mwh": p.short_mwh[i], "stored_mwh": p.stored_mwh[i]} for i, h in enumerate(street.homes)]
    return {
        "street": street.name, "seed": street.seed, "slot_minutes": street.slot_minutes, "slots": slots, "start_s": profiles.start_s,
        "seconds": round(seconds, 1), "paid_ucr": -_sum(p.money), "paid_alone_ucr": -_sum(p.money_alone), "feeder_ucr": _sum(p.feeder_ucr),
        "shared_ucr": _sum(p.shared) * len(homes),
        "volume_mwh": _sum(p.volume), "neighbours_mwh": _sum(neighbours), "generated_mwh": _sum(p.made),
        "curtailed_mwh": _sum(p.made_alone - p.made),
        "self_consumption": _used(p.net, p.made, neighbours), "self_consumption_alone": _used(p.net_alone, p.made_alone, 0),
        "mean_price_ucr_per_kwh": _sum(p.price * p.volume) // max(_sum(p.volume), 1),
        "feeder": {**_feeder(p.net.sum(axis=1), limits), "alone": _feeder(p.net_alone.sum(axis=1), limits), "limits_mwh": limits},
        "homes": homes, "hours": _grouped(p, neighbours, _hours(profiles, slots, slot_s)),
        "months": _grouped(p, neighbours, _months(profiles, slots, slot_s))}


def _used(net, made, neighbours):
    total = _sum(made)
    return (total - _sum(np.maximum(-net, 0)) + _sum(np.asarray(neighbours))) / total if total else None


def _feeder(net, limits):
    return {"import_mwh": _sum(np.maximum(net, 0)), "export_mwh": _sum(np.maximum(-net, 0)), "most_import_mwh": int(max(net.max(), 0)),
            "most_export_mwh": int(max((-net).max(), 0)), "slots_over": int(((net > limits[0]) | (-net > limits[1])).sum()),
            "most_over_mwh": int(max((net - limits[0]).max(), (-net - limits[1]).max(), 0))}


def _hours(profiles, slots, slot_s):
    local = profiles.start_s + profiles.utc_offset_s + np.arange(slots) * slot_s
    return [f"{h:02d}" for h in (local % 86400 // 3600)]


def _months(profiles, slots, slot_s):
    local = profiles.start_s + profiles.utc_offset_s + np.arange(slots) * slot_s
    return np.datetime_as_string(local.astype("datetime64[s]"), unit="M").tolist()


def _grouped(p, neighbours, keys):
    """A row per key: the price is weighted by what was traded; None where nothing was."""
    keys, out = np.array(keys), []
    for key in sorted(set(keys.tolist())):
        at = keys == key
        volume = _sum(p.volume[at])
        out.append({"key": key, "slots": int(at.sum()), "volume_mwh": volume, "neighbours_mwh": _sum(neighbours[at]),
                    "price_ucr_per_kwh": _sum(p.price[at] * p.volume[at]) // volume if volume else None,
                    "generated_mwh": _sum(p.made[at]), "paid_ucr": -_sum(p.money[at]), "paid_alone_ucr": -_sum(p.money_alone[at])})
    return out


def write(out, data, profiles, played):
    """simulation.json, homes.csv, hours.csv, months.csv, slots.csv in the folder `out`."""
    (out / "simulation.json").write_text(json.dumps(data, indent=1) + "\n")
    for name in ("homes", "hours", "months"):
        _csv(out / f"{name}.csv", list(data[name][0]), [list(row.values()) for row in data[name]])
    rows = zip(*(getattr(played, k).tolist() for k in ("price", "congestion", "volume", "feeder_ucr")), played.net.sum(axis=1).tolist(),
               played.net_alone.sum(axis=1).tolist(), strict=True)
    slot_s = data["slot_minutes"] * 60
    _csv(out / "slots.csv", ["slot", "start", "price_ucr_per_kwh", "congestion_ucr_per_kwh", "volume_mwh", "feeder_ucr", "street_net_mwh",
                             "street_net_alone_mwh"],
         [[i, profiles.local(profiles.start_s + i * slot_s).isoformat(), *row] for i, row in enumerate(rows)])


def _csv(path, heading, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(heading)
        out.writerows(rows)
