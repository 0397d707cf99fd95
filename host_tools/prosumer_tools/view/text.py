"""Numbers as people write them: kWh, euros and cents, times of day. Money is micro-credits; one credit is one euro."""
import datetime

_MINUS, _SPACE = "\u2212", "\u00a0"      # a real minus, a space that does not break


def number(value, decimals=0):
    """1234.5 -> '1 234.5', with a real minus sign."""
    text = f"{abs(value):,.{decimals}f}".replace(",", _SPACE)
    return (_MINUS if value < 0 and text.strip("0.") else "") + text


def kwh(mwh, decimals=1):
    return number(mwh / 1e6, decimals)


def kw(mwh, minutes, decimals=1):
    """Mean power of an energy over so many minutes."""
    return number(mwh / 1e6 * 60 / minutes, decimals)


def euro(ucr, sign=False):
    text = number(ucr / 1e6, 2) + _SPACE + "€"
    return "+" + text if sign and ucr > 0 and text[:4] != "0.00" else text


def cents(ucr_per_kwh):
    """A price in cents per kWh."""
    return number(ucr_per_kwh / 1e4, 1)


def percent(part, decimals=0):
    return "–" if part is None else number(100 * part, decimals) + _SPACE + "%"


def pays(ucr):
    """'pays 4.53 €' or 'earns 1.79 €'."""
    return f"earns {euro(-ucr)}" if ucr < 0 else f"pays {euro(ucr)}"


def trade(shown):
    """'olivier sold 1.110 kWh at 14.0 ct/kWh at 15:30' of a data.Shown."""
    what = f"sold {kwh(shown.sold_mwh, 3)} kWh" if shown.sold_mwh else f"bought {kwh(shown.bought_mwh, 3)} kWh" if shown.bought_mwh else ""
    return f"{shown.home} {what} at {number(shown.price_ucr_per_kwh / 1e4, 2)} ct/kWh at {clock(shown.start)}" if what else \
        f"{shown.home} traded nothing at {clock(shown.start)}"


def clock(start):
    """Time of day of an ISO 8601 time."""
    return datetime.datetime.fromisoformat(start).strftime("%H:%M")


def day(start):
    time = datetime.datetime.fromisoformat(start)
    return f"{time:%A}, {time.day} {time:%B %Y}"


def duration(seconds):
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
