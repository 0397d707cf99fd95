"""RUN/report.html: the day as one page that needs nothing but itself, to show to anybody."""
import os

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from . import charts, text
from .picture import equipment, street_picture
from .totals import condensed, home_energy, totals


def write_report(run, out_dir):
    """Writes report.html into out_dir and returns its path. run: RunData."""
    path = os.path.join(out_dir, "report.html")
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(render(run))
    os.replace(path + ".new", path)
    return path


def render(run):
    """The page as text."""
    env = Environment(loader=PackageLoader(__package__, "page"), autoescape=True, undefined=StrictUndefined,
                      trim_blocks=True, lstrip_blocks=True)
    env.globals.update({name: getattr(text, name) for name in ("kwh", "kw", "euro", "cents", "percent", "number", "pays", "clock", "day", "duration", "trade")})
    env.filters["hexdump"] = lambda raw: raw.hex(" ")
    drawn = condensed(run)
    low = min([0] + [min(h.paid_ucr, h.paid_alone_ucr) for h in run.homes])
    high = max([0] + [max(h.paid_ucr, h.paid_alone_ucr) for h in run.homes])
    homes = [{"data": home, "equipment": equipment(home), "energy": home_energy(run, i), "chart": Markup(chart),
              "bar": Markup(charts.money_bar(home, low, high)), "saved_ucr": home.paid_alone_ucr - home.paid_ucr}
             for i, (home, chart) in enumerate(zip(run.homes, charts.homes(drawn)))]
    pictures = {name: Markup(draw(drawn)) for name, draw in (("power", charts.street_power), ("price", charts.price_and_volume),
                                                           ("feeder", charts.feeder))}
    style = Markup(env.loader.get_source(env, "report.css")[0])
    return env.get_template("report.html").render(run=run, t=totals(run), homes=homes, pictures=pictures, style=style,
                                                  street=Markup(street_picture(run.homes)), slot_word=_slot_word(run.slot_minutes),
                                                 step_minutes=drawn.slot_minutes,
                                                  span_word=_span_word(len(run.slots) * run.slot_minutes))


def _slot_word(minutes):
    return {15: "quarter of an hour", 30: "half hour", 60: "hour", 1: "minute"}.get(minutes, f"{minutes} minutes")


def _span_word(minutes):
    return "day" if 23 * 60 <= minutes <= 25 * 60 else "week" if minutes == 7 * 1440 else "run"
