"""The end of a run: a screen of figures, and the same as data (summary.json, slots.csv, homes.csv, readings.csv)."""
import csv
import json
import os
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .text import clock, duration, euro, kw, kwh, number, percent, trade
from .totals import feeder_alone_mwh, home_energy, totals


def write_summary(run, out_dir):
    """Writes the four files into out_dir; returns their names."""
    t = totals(run)
    tree = {"street": run.street, "slots": len(run.slots), "slot_minutes": run.slot_minutes,
            "start": run.slots[0].start if run.slots else None, "wall_s": round(run.wall_s, 1),
            "tariff": {key: getattr(run, key) for key in ("retail_ucr_per_kwh", "feed_in_ucr_per_kwh", "local_fee_ucr_per_kwh")},
            "totals": {**asdict(t), "saved_ucr": t.saved_ucr},
            "homes": [_home_row(run, i) for i in range(len(run.homes))],
            "verdict": asdict(run.verdict) if run.verdict else None, "counters": asdict(run.counters)}
    with open(os.path.join(out_dir, "summary.json"), "w", encoding="utf-8") as file:
        json.dump(tree, file, indent=1, ensure_ascii=False)
        file.write("\n")
    _csv(out_dir, "homes.csv", tree["homes"])
    alone = feeder_alone_mwh(run)
    _csv(out_dir, "slots.csv", [
        {"slot": s.slot, "start": s.start, "void": int(s.void), "price_ucr_per_kwh": "" if s.price_ucr_per_kwh is None else s.price_ucr_per_kwh,
         "volume_mwh": s.volume_mwh, "feeder_import_mwh": s.feeder_import_mwh, "feeder_export_mwh": s.feeder_export_mwh,
         "limit_import_mwh": s.limit_import_mwh, "limit_export_mwh": s.limit_export_mwh,
         "feeder_net_without_market_mwh": alone[i] if alone else ""} for i, s in enumerate(run.slots)])
    _csv(out_dir, "readings.csv", [{"slot": s.slot, "start": s.start, "home": home.name, **asdict(s.homes[i]), "missing": int(s.homes[i].missing)}
                                   for s in run.slots for i, home in enumerate(run.homes)])
    return ["summary.json", "slots.csv", "homes.csv", "readings.csv"]


def _home_row(run, i):
    home = run.homes[i]
    alone = {f"{key[:-4]}_without_market_mwh": sum(getattr(each, name) for each in home.alone) for key, name in
             (("imported_mwh", "import_mwh"), ("exported_mwh", "export_mwh"))}
    return {"home": home.name, "kind": home.kind, "pv_kwp": home.pv_kwp, **home_energy(run, i), **alone, "paid_ucr": home.paid_ucr,
            "paid_without_market_ucr": home.paid_alone_ucr, "balance_ucr": home.balance_ucr, "green_mwh": home.green_mwh,
            "battery_change_mwh": home.battery_change_mwh, "battery_change_without_market_mwh": home.battery_change_alone_mwh}


def _csv(out_dir, name, rows):
    with open(os.path.join(out_dir, name), "w", newline="", encoding="utf-8") as file:
        if rows:
            out = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            out.writeheader()
            out.writerows(rows)


def print_summary(run, console=None):
    """One screen: per home money and kWh with the market and without it, and what the street gained."""
    console = console or Console(highlight=False)
    t = totals(run)
    table = Table(title=Text(f"{run.street}: {len(run.slots)} slots of {run.slot_minutes} min"), title_justify="left", title_style="bold",
                  show_footer=True, box=None, padding=(0, 1), header_style="bold")
    table.add_column("home", "street")
    for name, key in (("drew", "imported_mwh"), ("gave", "exported_mwh"), ("bought", "bought_mwh"), ("sold", "sold_mwh")):
        table.add_column(name, kwh(sum(home_energy(run, i)[key] for i in range(len(run.homes)))), justify="right")
    for name, footer in (("alone", euro(t.paid_alone_ucr)), ("market", euro(t.paid_ucr)), ("better off", euro(t.saved_ucr)),
                         ("coins", kwh(t.green_mwh))):
        table.add_column(name, footer, justify="right")
    for i, home in enumerate(run.homes):
        saved, energy = home.paid_alone_ucr - home.paid_ucr, home_energy(run, i)
        table.add_row(home.name, *(kwh(energy[key]) for key in ("imported_mwh", "exported_mwh", "bought_mwh", "sold_mwh")),
                      euro(home.paid_alone_ucr), euro(home.paid_ucr),
                      f"[{'green' if saved >= 0 else 'red'}]{euro(saved)}[/]", kwh(home.green_mwh) if home.green_mwh else "–")
    console.print(table)
    console.print("energy in kWh; alone, market: what it cost without and with the market, minus = earned", style="dim")
    console.print(f"\n{kwh(t.neighbours_mwh)} kWh went from neighbour to neighbour; the street keeps {euro(t.saved_ucr)}. "
                  f"Self-consumption {percent(t.self_consumption)} (each for itself {percent(t.self_consumption_alone)}), "
                  f"self-sufficiency {percent(t.self_sufficiency)} ({percent(t.self_sufficiency_alone)}).")
    cable = "cable within its limits" if not t.over_limit_slots else f"cable over its limit in {t.over_limit_slots} slots"
    if t.over_limit_alone_slots:
        cable += f" (without the market over in {t.over_limit_alone_slots}, by up to {kw(t.peak_over_alone_mwh, run.slot_minutes)} kW)"
    rejected = sum(run.counters.rejects.values())
    console.print(f"{t.traded_slots} slots with trade, {t.void_slots} void; {cable}; {number(sum(run.counters.messages.values()))} messages, "
                  f"{number(rejected)} refused{'; played in ' + duration(run.wall_s) if run.wall_s else ''}.")


def print_witness(run, out_dir, prosumer="prosumer", console=None):
    """What else happened in the run, what is proven of it, and the commands that show it; `prosumer`: how it is called."""
    w, console = run.witness, console or Console(highlight=False)
    lines = [f"Archive: followed the street and keeps all {w.blocks} final blocks ({os.path.join(out_dir, 'archive.db')})."]
    for a in w.absences:
        how = "by certificates and consistency proofs" if a.proven else "by a certificate"
        lines.append(f"Away: {a.home} had no network from {clock(a.start)} to {clock(a.end)} and caught up {how}: "
                     f"{a.blocks} blocks in {number(a.bytes)} bytes.")
    r = w.receipt
    lines.append(f"Receipt: {number(r.size)} bytes prove that {trade(r)}; checked with genesis.bin alone, {r.signatures} of {r.voters} meters signed.")
    mine = os.path.join(out_dir, "mine.bin")
    lines += ["", "Try next:"] + [f"  {prosumer} {words}" for words in (
        f"verify {out_dir}", f"check-receipt {os.path.join(out_dir, 'receipt.bin')} --genesis {os.path.join(out_dir, 'genesis.bin')}",
        f"archive search {os.path.join(out_dir, 'archive.db')} trades --min-kwh 0.5",
        f"receipt {os.path.join(out_dir, 'archive.db')} --member {r.member} --slot {r.slot} --out {mine} --qr {mine[:-3]}html",
        f"archive check {os.path.join(out_dir, 'archive.db')} --against {os.path.join(out_dir, 'records', f'meter-{r.home}.bin')}",
        f"statement {out_dir}")]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
