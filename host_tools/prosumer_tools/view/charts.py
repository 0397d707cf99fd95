"""The pictures of the report. Each returns HTML with a wide and a narrow drawing; the style sheet shows the one that fits."""
import datetime

from .svg import Plot
from .text import cents, clock, euro, kwh, number
from .totals import feeder_alone_mwh, neighbours_mwh

WIDE, NARROW = 920, 350


def street_power(run):
    """What the roofs made, what the street used, what went from neighbour to neighbour; kW per slot."""
    made, used, shared = [], [], []
    for slot in run.slots:
        made.append(_kw(run, sum(h.generation_mwh for h in slot.homes)))
        used.append(_kw(run, sum(h.used_mwh for h in slot.homes)))
        shared.append(_kw(run, neighbours_mwh(slot)))
    title = (f"Power of the street over the day: generation up to {number(max(made, default=0), 1)} kW, "
             f"use up to {number(max(used, default=0), 1)} kW, from neighbour to neighbour up to {number(max(shared, default=0), 1)} kW")

    def draw(width):
        plot = Plot(width, 300 if width == WIDE else 250, len(made), 0, max(made + used + [0.1]))
        _axes(plot, run, "kW")
        plot.area(made, "sun")
        plot.area(shared, "shared")
        plot.line(used, "use-line")
        plot.hover(lambda i: f"{_when(run, i)}: roofs {number(made[i], 1)} kW, use {number(used[i], 1)} kW, "
                             f"neighbour to neighbour {number(shared[i], 1)} kW")
        return plot.svg(title)
    return _both(draw)


def price_and_volume(run):
    """The slot's price between the utility's two prices, over the energy traded in the slot."""
    prices = [slot.price_ucr_per_kwh for slot in run.slots]
    volumes = [slot.volume_mwh / 1e6 for slot in run.slots]
    retail, feed_in = run.retail_ucr_per_kwh / 1e4, run.feed_in_ucr_per_kwh / 1e4
    shown = [None if price is None or not slot.volume_mwh else price / 1e4 for price, slot in zip(prices, run.slots)]
    seen = [price for price in shown if price is not None]
    title = (f"Price per slot between {number(min(seen), 1)} and {number(max(seen), 1)} cents per kWh" if seen else "No trade") + \
        f"; the utility sells at {number(retail, 1)} and buys at {number(feed_in, 1)} cents"

    def when(i):
        price = "void" if run.slots[i].void else "no trade" if shown[i] is None else f"{cents(prices[i])} ct/kWh"
        return f"{_when(run, i)}: {price}, {number(volumes[i], 2)} kWh traded"

    def draw(width):
        plot = Plot(width, 220, len(shown), 0, max([retail] + seen) * 1.12, bottom=8, tight=True)
        plot.grid(_short)
        plot.unit("ct per kWh")
        plot.band([i for i, slot in enumerate(run.slots) if slot.void], "void", "void slot: settled at the utility's tariff")
        plot.rule(retail, "retail", "the utility sells at this price" if width == WIDE else "utility sells")
        plot.rule(feed_in, "feed-in", "the utility buys at this price" if width == WIDE else "utility buys", below=True)
        plot.line(shown, "price-line")
        plot.hover(when)
        bars = Plot(width, 130, len(volumes), 0, max(volumes + [0.1]))
        _axes(bars, run, "kWh")
        bars.area(volumes, "shared")
        bars.hover(when)
        return plot.svg(title) + bars.svg(f"Energy traded per slot, {kwh(sum(s.volume_mwh for s in run.slots))} kWh in all")
    return _both(draw)


def feeder(run):
    """Net power at the transformer against the operator's envelope, and what it would have been without the market."""
    net = [_kw(run, slot.feeder_import_mwh - slot.feeder_export_mwh) for slot in run.slots]
    up = [_kw(run, slot.limit_import_mwh) for slot in run.slots]
    down = [-_kw(run, slot.limit_export_mwh) for slot in run.slots]
    alone = [_kw(run, each) for each in feeder_alone_mwh(run)]
    high, low = max(net + alone + up + [0.1]), min(net + alone + down + [0])
    title = (f"Power through the street's cable: at most {number(max(net + [0]), 1)} kW in and {number(-min(net + [0]), 1)} kW out; "
             f"allowed {number(max(up, default=0), 1)} kW in and {number(-min(down, default=0), 1)} kW out")

    def draw(width):
        plot = Plot(width, 300 if width == WIDE else 260, len(net), low * 1.12, high * 1.12, tight=True)
        _axes(plot, run, "kW")
        plot.area([max(each, 0) for each in net], "utility")
        plot.area([min(each, 0) for each in net], "sun")
        plot.line(alone, "alone-line")
        plot.line(up, "limit")
        plot.line(down, "limit")
        plot.label(0.5, up[0] if up else 0, "most the cable may bring in" if width == WIDE else "import limit", "start", -5, "note limit-note")
        plot.label(0.5, down[0] if down else 0, "most it may take out" if width == WIDE else "export limit", "start", 14, "note limit-note")

        def when(i):
            without = f", without the market {_in_out(alone[i])}" if alone else ""
            return f"{_when(run, i)}: {_in_out(net[i])}{without}"
        plot.hover(when)
        return plot.svg(title)
    return _both(draw)


def homes(run):
    """One small drawing per home, all on one scale: drawn from neighbours and utility above zero, given below."""
    high = max([_kw(run, h.import_mwh) for slot in run.slots for h in slot.homes] + [0.1])
    low = -max([_kw(run, h.export_mwh) for slot in run.slots for h in slot.homes] + [0])
    return [_home(run, i, low, high) for i in range(len(run.homes))]


def _home(run, i, low, high):
    rows = [slot.homes[i] for slot in run.slots]
    bought = [_kw(run, min(h.bought_mwh, h.import_mwh)) for h in rows]
    drawn = [_kw(run, h.import_mwh) for h in rows]
    sold = [-_kw(run, min(h.sold_mwh, h.export_mwh)) for h in rows]
    given = [-_kw(run, h.export_mwh) for h in rows]
    plot = Plot(270, 190, len(rows), low * 1.05, high * 1.05, left=38, right=4, top=8, tight=True)
    _axes(plot, run, "kW", narrow=True)
    plot.area(bought, "shared")
    plot.area(drawn, "utility", bought)
    plot.area(sold, "shared")
    plot.area(given, "sun", sold)
    return plot.svg(f"{run.homes[i].name}: drew up to {number(max(drawn, default=0), 1)} kW, gave up to "
                    f"{number(-min(given, default=0), 1)} kW")


def money_bar(home, low, high):
    """From what the day costs without the market (ring) to what it costs with it (dot); costs right of zero, earnings left."""
    span = max(high - low, 1)

    def at(ucr):
        return 8 + 204 * (ucr - low) / span
    alone, with_market, zero = at(home.paid_alone_ucr), at(home.paid_ucr), at(0)
    return (f'<svg class="money-bar" viewBox="0 0 220 26" role="img" aria-label="{euro(home.paid_alone_ucr)} without, {euro(home.paid_ucr)} with">'
            f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="1" y2="25"/>'
            f'<line class="saved" x1="{alone:.1f}" x2="{with_market:.1f}" y1="13" y2="13"/>'
            f'<circle class="was" cx="{alone:.1f}" cy="13" r="5"/><circle class="now" cx="{with_market:.1f}" cy="13" r="6.5"/></svg>')


def time_marks(run, most):
    """[(slot position, label)] at round times, at most `most` of them."""
    if not run.slots:
        return []
    start = datetime.datetime.fromisoformat(run.slots[0].start)
    span = len(run.slots) * run.slot_minutes
    for step in (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440, 2880, 10080, 40320):
        if span / step <= most:
            break
    minutes = start.hour * 60 + start.minute
    first = -minutes % step
    marks = []
    for at in range(first, span + 1, step):
        time = start + datetime.timedelta(minutes=at)
        label = time.strftime("%d %b") if step >= 1440 else "24:00" if at == span and time.hour == time.minute == 0 else time.strftime("%H:%M")
        marks.append((at / run.slot_minutes, label))
    return marks


def _axes(plot, run, unit, narrow=False):
    if narrow:      # no room for a line of its own: the unit stands at the highest tick
        plot.grid(lambda tick: f"{_short(tick)} {unit}" if tick == plot.ticks[-1] else _short(tick))
    else:
        plot.grid(_short)
        plot.unit(unit)
    plot.time_axis(time_marks(run, 3 if narrow else 4 if plot.width == NARROW else 8))
    plot.band([i for i, slot in enumerate(run.slots) if slot.void], "void", "void slot: settled at the utility's tariff")


def _both(draw):
    return f'<div class="wide">{draw(WIDE)}</div><div class="narrow">{draw(NARROW)}</div>'


def _kw(run, mwh):
    return mwh / 1e6 * 60 / run.slot_minutes


def _short(tick):
    return number(tick, 0 if tick == int(tick) else 1)


def _when(run, i):
    return clock(run.slots[i].start) if len(run.slots) * run.slot_minutes <= 1500 else f"{run.slots[i].start[:10]} {clock(run.slots[i].start)}"


def _in_out(power):
    return f"{number(abs(power), 1)} kW {'in' if power >= 0 else 'out'}"
