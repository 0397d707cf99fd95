"""Search random schedules for two conflicting final blocks, on the MicroPython Unix port with the firmware's own core.

    micropython tests/sim/run_sim.py --n 4,7,8 --schedules 1000 --seed 1 [--break RULE] [--events N] [--json]

Exits 0 if nothing was found, 1 on a conflict (or, with all rules whole, a broken promise or a slot that did not
finalise), and names the schedule, which the same seed repeats alone: --n N --seed S --schedules 1.

Last result of `run_sim.py --schedules 12500` (100,000 schedules, all rules whole, seeds 1 to 12,500 of each n): nothing found.

    n                          4        5        6        7        8          9         10         13
    final headers        285,290  384,933  520,974  662,196  819,771  1,016,768  1,196,426  1,884,336
    honest slots, final   38,510   51,162   63,711   64,905   77,455     90,006     91,260    117,573
"""
import sys
import time

here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
sys.path.insert(0, here + "/../../firmware")
sys.path.insert(0, here)

from adversary import Adversary  # noqa: E402
from broken import RULES  # noqa: E402
from world import Broken, Conflict  # noqa: E402


def search(n, first, schedules, rule, events=0):
    """{"n", "schedules", "finals", "honest_slots", "found"}: `found` is None or (seed, what)."""
    finals = honest = ran = 0
    found = None
    for number in range(first, first + schedules):
        strict = rule in ("none", "late")
        a = Adversary(n, RULES[rule], number, strict)
        ran += 1
        try:
            honest += a.run(events or 60 * n, n)
        except Conflict as e:
            found = (number, "conflict: " + str(e))
        except Broken as e:
            if strict:
                found = (number, str(e))
        finals += a.finals
        if found:
            break
    return {"n": n, "rule": rule, "schedules": ran, "finals": finals, "honest_slots": honest, "found": found}


def main(args):
    options = {"--n": "4,5,6,7,8,9,10,13", "--schedules": "100", "--seed": "1", "--break": "none", "--events": "0"}
    as_json = "--json" in args
    args = [a for a in args if a != "--json"]
    for i in range(0, len(args), 2):
        if args[i] not in options or i + 1 == len(args):
            with open(__file__) as f:  # MicroPython keeps no __doc__
                print(f.read().split('"""')[1])
            return 2
        options[args[i]] = args[i + 1]
    failed = 0
    for n in [int(x) for x in options["--n"].split(",")]:
        start = time.time()
        result = search(n, int(options["--seed"]), int(options["--schedules"]), options["--break"], int(options["--events"]))
        result["seconds"] = time.time() - start
        failed |= result["found"] is not None
        if as_json:
            import json

            print(json.dumps(result))
        else:
            print("n=%(n)d rule=%(rule)s schedules=%(schedules)d finals=%(finals)d honest_slots=%(honest_slots)d "
                  "seconds=%(seconds).1f found=%(found)s" % result)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
