"""From measured points to a calibration: the firmware's own wizard, on the Unix port."""
import json

from prosumer_tools.unixport import run_firmware

_SOLVE = """
import json, sys
from prosumer.errors import Reject
from prosumer.metering.calibration import Calibration
from prosumer.metering.wizard import Wizard
job = json.loads(sys.stdin.read())
try:
    w = Wizard(Calibration.from_dict(job["calibration"]), job["index"], job["phase"])
    if job["idle"]:
        w.idle(job["idle"], job["name"])
    for p in job["points"]:
        w.add(p["reading"], job["name"], p["voltage_mv"], p["power_mw"], p["inductive_va_mw"])
    new, before, after = w.solve(job["date"], job["best"])
    print(json.dumps({"calibration": new.to_dict(), "hash": "".join(["%02x" % b for b in new.hash()]),
                      "before": before, "after": after, "warnings": w.warnings}))
except Reject as e:
    print(json.dumps({"refused": e.code}))
"""
REASONS = {"calibration-point": "a point that cannot be: no voltage or no current seen, or a power above the apparent power"}


def solve(measured, name, idle, points, date):
    """{"calibration", "hash", "before", "after" (ppm of each point's power), "warnings"} for the clamp `name`.

    measured: what `device.measure` said of one point; idle: its reading without load, or None; points: dicts with reading,
    voltage_mv, power_mw, inductive_va_mw (0: resistive). ValueError when they allow no calibration."""
    channels = measured["channels"]
    voltages = [c for c in channels if c[1] == "voltage"]
    clamps = [c for c in channels if c[1] != "voltage"]
    index = [c[0] for c in clamps].index(name)
    phase = clamps[index][2] if len(clamps[index]) > 2 else index % len(voltages)
    job = {"calibration": measured["calibration"], "index": index, "phase": phase, "name": name, "idle": idle, "points": points,
           "date": date, "best": measured["best"]}
    answer = json.loads(run_firmware(_SOLVE, json.dumps(job)))
    if "refused" in answer:
        raise ValueError(REASONS.get(answer["refused"], answer["refused"]))
    return answer
