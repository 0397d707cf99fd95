"""The page of a simulation: self-contained, drawn with the report's own plots and style."""
from html import escape
from importlib.resources import files

from prosumer_tools.view.charts import NARROW, WIDE
from prosumer_tools.view.svg import Plot
from prosumer_tools.view.text import cents, duration, euro, kwh, number, percent

_SAID = {"hours": "hour of the day", "months": "month"}


def render(data, note):
    """HTML as text."""
    d, f = data, data["feeder"]
    days = d["slots"] * d["slot_minutes"] / 1440
    saved = d["paid_alone_ucr"] - d["paid_ucr"]
    price, was = cents(d["mean_price_ucr_per_kwh"]), euro(d["paid_alone_ucr"])
    tiles = [("main", euro(saved), f"kept in the street over {number(days)} days, of {was} without the market"),
             ("", f"{kwh(d['volume_mwh'], 0)} <small>kWh</small>", f"traded between neighbours, at {price} ct on average"),
             ("", percent(d["self_consumption"]), f"of the generation used in the street; {percent(d['self_consumption_alone'])} without"),
             ("bad" if f["slots_over"] else "", number(f["slots_over"]),
              f"slots beyond the feeder's limits; {number(f['alone']['slots_over'])} without the market")]
    style = (files("prosumer_tools.view.page") / "report.css").read_text("utf-8")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(d['street'])}: simulation</title><style>{style}
.sim {{ border-collapse: collapse; width: 100%; font-size: 15.5px; margin-top: 16px; background: var(--card); }}
.sim th, .sim td {{ text-align: right; padding: 7px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }}
.sim th:first-child, .sim td:first-child {{ text-align: left; }} .scroll {{ overflow-x: auto; }}
rect.was {{ fill: #c3ccd2; }} rect.bar {{ fill: var(--green); }}
</style></head><body>
<header><div><p class="eyebrow">Simulation at market level</p><h1>{escape(d['street'])}</h1>
<p class="lead">{len(d['homes'])} homes, {number(days)} days in slots of {d['slot_minutes']} minutes. Each home's orders, the clearing
and the settlement were made by the meters' own firmware; no meter was emulated.</p></div></header><main>
<div class="tiles">{''.join(f'<div class="tile {k}"><b>{v}</b><span>{t}</span></div>' for k, v, t in tiles)}</div>
<section><h2>Each home's money</h2><p>What a home pays with the market and without it: the same devices, each house for itself, the
utility's tariff. A minus is an income.</p><div class="scroll">{_homes(d)}</div></section>
<section><h2>Price and volume by hour of the day</h2><figure>{_picture(d, 'hours')}</figure></section>
<section><h2>Price and volume by month</h2><figure>{_picture(d, 'months')}</figure></section>
<section><h2>The feeder</h2><div class="scroll">{_feeder(d)}</div></section>
<p class="small">{escape(note)} Seed {d['seed']}. Played in {duration(d['seconds'])}. Figures: homes.csv, hours.csv, months.csv, slots.csv,
simulation.json.</p></main></body></html>
"""


def _table(heading, rows):
    head = "".join(f"<th>{escape(h)}</th>" for h in heading)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<table class="sim"><tr>{head}</tr>{body}</table>'


def equipment(home):
    """'9 kWp, battery 10 kWh, car'."""
    parts = [f"{home['pv_kwp']:g} kWp"] if home["pv_kwp"] else []
    parts += [f"battery {home['battery_kwh']:g} kWh"] if home["battery_kwh"] else []
    return ", ".join(parts + (["car"] if home["ev"] else []) + (["shop"] if home["kind"] == "shop" else [])) or "–"


def _homes(d):
    rows = [[escape(h["name"]), equipment(h), euro(h["paid_alone_ucr"]), euro(h["paid_ucr"]), euro(h["saved_ucr"], True),
             kwh(h["bought_mwh"], 0), kwh(h["sold_mwh"], 0), kwh(h["generated_mwh"], 0)] for h in d["homes"]]
    saved = d["paid_alone_ucr"] - d["paid_ucr"]
    rows.append(["<b>street</b>", "", euro(d["paid_alone_ucr"]), euro(d["paid_ucr"]), euro(saved, True),
                 *(kwh(sum(h[of] for h in d["homes"]), 0) for of in ("bought_mwh", "sold_mwh", "generated_mwh"))])
    rows.append(["feeder account", "", "", "", euro(d["feeder_ucr"], True), "", "", ""])
    return _table(["home", "equipment", "without", "with", "gain", "bought kWh", "sold kWh", "generated kWh"], rows)


def _feeder(d):
    f, per = d["feeder"], 60 / d["slot_minutes"] / 1e6

    def row(name, of):
        return [name, kwh(of["import_mwh"], 0), kwh(of["export_mwh"], 0), number(of["most_import_mwh"] * per, 1),
                number(of["most_export_mwh"] * per, 1), number(of["slots_over"]), number(of["most_over_mwh"] * per, 2)]
    limits = [number(mwh * per, 1) for mwh in f["limits_mwh"]]
    return _table(["", "in kWh", "out kWh", "most in kW", "most out kW", "slots over", "worst by kW"],
                  [row("with the market", f), row("without", f["alone"]), ["limits", "", "", *limits, "", ""]])


def _picture(d, part):
    """Price over a bar of energy traded, a column for each row."""
    rows = d[part]
    marks = [(i + 0.5, row["key"][-2:]) for i, row in enumerate(rows)]
    prices = [None if row["price_ucr_per_kwh"] is None else row["price_ucr_per_kwh"] / 1e4 for row in rows]
    volumes = [row["volume_mwh"] / 1e6 for row in rows]

    def said(i):
        return (f"{_SAID[part]} {rows[i]['key']}: {'no trade' if prices[i] is None else number(prices[i], 1) + ' ct/kWh'}, "
                f"{number(volumes[i])} kWh traded")

    def draw(width, every):
        top = Plot(width, 190, len(rows), 0, max([p for p in prices if p is not None] or [1]) * 1.1, bottom=8)
        top.grid(_tick)
        top.unit("ct per kWh")
        top.line(prices, "price-line")
        top.hover(said)
        low = Plot(width, 150, len(rows), 0, max([*volumes, 0.1]))
        low.grid(_tick)
        low.unit("kWh traded")
        low.area(volumes, "shared")
        low.time_axis(marks[::every])
        low.hover(said)
        return top.svg(f"Price by {_SAID[part]}") + low.svg(f"Energy traded by {_SAID[part]}")
    return f'<div class="wide">{draw(WIDE, 1)}</div><div class="narrow">{draw(NARROW, 1 + len(rows) // 13 * 2)}</div>'


def _tick(value):
    return number(value, 0 if value == int(value) else 1)


def text(d):
    """The same on one screen."""
    days = d["slots"] * d["slot_minutes"] / 1440
    lines = [f"{d['street']}: {days:.0f} days, {d['slots']} slots, in {duration(d['seconds'])}", "",
             f"{'home':16}{'equipment':28}{'without':>12}{'with':>12}{'gain':>11}"]
    for h in d["homes"]:
        lines.append(f"{h['name']:16}{equipment(h):28}{_money(h)}")
    f = d["feeder"]
    lines += [f"{'street':44}{_money(d)}", "",
              f"traded            {kwh(d['volume_mwh'], 0)} kWh at {cents(d['mean_price_ucr_per_kwh'])} ct/kWh on average",
              f"self-consumption  {percent(d['self_consumption'])}, {percent(d['self_consumption_alone'])} without the market; "
              f"{kwh(d['curtailed_mwh'], 1)} kWh curtailed",
              f"feeder            {f['slots_over']} slots beyond its limits, {f['alone']['slots_over']} without the market; "
              f"{euro(d['shared_ucr'], True)} of its account shared among the homes month by month, {euro(d['feeder_ucr'], True)} left"]
    return "\n".join(lines)


def _money(of):
    """Columns without, with and gain."""
    saved = of["paid_alone_ucr"] - of["paid_ucr"]
    return f"{euro(of['paid_alone_ucr']):>12}{euro(of['paid_ucr']):>12}{euro(saved, True):>11}"
