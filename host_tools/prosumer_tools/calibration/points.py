"""What the reference says: the loads of a calibration, from the installer's keyboard or from a file."""
import json
import math

WAYS = {
    "full": (("a small load, about 100 W", 0), ("a middle load, about 500 W", 0), ("a large load, 2000 W or more", 0),
             ("an inductive load: a motor or transformer", 1)),
    "quick": (("a resistive load that is known, a heater or kettle", 0),),
}
_FIELDS = {"load", "voltage_v", "power_w", "apparent_va", "power_factor", "rated_w", "rated_v"}


class BadPoint(ValueError):
    """What the reference says cannot be; the text says why."""


def from_file(path):
    """[{"load": text, …}]: a JSON list of objects with `voltage_v` and either `power_w` (a reference meter's) or `rated_w` and
    `rated_v` (a resistive reference load); `power_factor` or `apparent_va` where the load is inductive."""
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise BadPoint(f"{path}: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise BadPoint(f"{path}: a list of points is expected")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or set(entry) - _FIELDS:
            raise BadPoint(f"{path}: point {number} has other fields than {', '.join(sorted(_FIELDS))}")
        try:
            reference(entry)
        except BadPoint as error:
            raise BadPoint(f"{path}: point {number}: {error}") from None
    return entries


def reference(entry):
    """→ (voltage_mv, power_mw, inductive_va_mw or 0) of a point as above."""
    volts = _number(entry, "voltage_v")
    if "power_w" in entry:
        power = _number(entry, "power_w")
    elif {"rated_w", "rated_v"} <= set(entry):
        power = _number(entry, "rated_w") * (volts / _number(entry, "rated_v")) ** 2
    else:
        raise BadPoint("power_w is missing, or rated_w and rated_v of the load")
    apparent = _number(entry, "apparent_va") if "apparent_va" in entry else 0
    if "power_factor" in entry:
        factor = _number(entry, "power_factor")
        if factor > 1:
            raise BadPoint("a power factor is at most 1")
        apparent = power / factor if factor < 1 else 0
    if apparent and apparent < power:
        raise BadPoint("the apparent power is below the power")
    return round(volts * 1000), round(power * 1000), round(apparent * 1000)


def typed(ask, inductive):
    """The reference's words for one load: `ask(question)` gives a line of text."""
    entry = {"voltage_v": _asked(ask, "  voltage of the reference in V: "), "power_w": _asked(ask, "  power of the reference in W: ")}
    if inductive:
        entry["power_factor"] = _asked(ask, "  its power factor: ", most=1)
    return entry


def _asked(ask, question, most=1e6):
    while True:
        try:
            value = float(ask(question).strip().replace(",", "."))
        except ValueError:
            continue
        if 0 < value <= most:
            return value


def _number(entry, name):
    value = entry.get(name)
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 < value < 1e6:
        raise BadPoint(f"{name} is missing or no positive number")
    return value
