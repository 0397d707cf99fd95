"""What the reference says: the loads of a calibration, from the installer's keyboard or from a file."""
import json
import math
import re

WAYS = {
    "full": (("a small load, about 100 W", 0), ("a middle load, about 500 W", 0), ("a large load, 2000 W or more", 0),
             ("an inductive load: a motor or transformer", 1)),
    "quick": (("a resistive load that is known, a heater or kettle", 0),),
}
_FIELDS = {"load", "voltage_v", "power_w", "apparent_va", "power_factor", "rated_w", "rated_v"}


class BadPoint(ValueError):
    """What the reference says cannot be; the text says why. field: the one at fault, if it is one."""

    def __init__(self, text, field=None):
        super().__init__(text)
        self.field = field


def from_file(path):
    """[{"load": text, …}]: a JSON list of objects with `voltage_v` and either `power_w` (a reference meter's) or `rated_w` and
    `rated_v` (a resistive reference load); `power_factor` or `apparent_va` where the load is inductive. What is wrong is named with
    its line and column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadPoint(f"{path}: line {error.lineno}, column {error.colno}: no JSON: {error.msg.lower()}") from None
    except UnicodeDecodeError:
        raise BadPoint(f"{path}: line 1, column 1: no text in UTF-8") from None
    if not isinstance(entries, list) or not entries:
        raise BadPoint(f"{path}: line 1, column 1: a list of points is expected, [{{\"voltage_v\": …, \"power_w\": …}}, …]")
    for number, (start, end) in enumerate(_places(text), 1):
        entry = entries[number - 1]
        try:
            if not isinstance(entry, dict):
                raise BadPoint("is no object {…}")
            other = sorted(set(entry) - _FIELDS)
            if other:
                raise BadPoint(f"{other[0]!r} is none of {', '.join(sorted(_FIELDS))}", other[0])
            if not isinstance(entry.get("load", ""), str):
                raise BadPoint("load is no text", "load")
            reference(entry)
        except BadPoint as error:
            field = re.search(rf'"{re.escape(error.field)}"\s*:', text[start:end]) if error.field else None
            at = start + field.start() if field else start
            line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
            raise BadPoint(f"{path}: line {line}, column {column}: point {number}: {error}") from None
    return entries


def _places(text):
    """(start, end) of each entry of the list that `text` is."""
    decoder = json.JSONDecoder()
    at = text.index("[") + 1
    while True:
        at = re.compile(r"[\s,]*").match(text, at).end()
        if text[at] == "]":
            return
        _, end = decoder.raw_decode(text, at)
        yield at, end
        at = end


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
            raise BadPoint("a power factor is at most 1", "power_factor")
        apparent = power / factor if factor < 1 else 0
    if apparent and apparent < power:
        raise BadPoint("the apparent power is below the power", "apparent_va")
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
        raise BadPoint(f"{name} is missing or no positive number below a million", name)
    return value
