"""pymarket, the market bench's peer: an environment of its own under build/, made on demand, asked over standard input.

pymarket 0.7.6 needs pandas < 3 and numpy < 2, which the tools do not; pymarket.txt pins all of it. Making it takes about 20 s, once.
"""
import json
import subprocess
import sys
import venv
from pathlib import Path

PINNED = Path(__file__).with_name("pymarket.txt")
ROOM = Path(__file__).resolve().parents[2] / "build" / "bench" / "pymarket"
_MAKING_S = 300

# A line a book: [[[energy, price, member, buys], …], runs, with its own bound on volume]. The programs print to standard output: silenced.
_SCRIPT = """
import contextlib, io, json, os, sys, time, warnings
warnings.simplefilter("ignore")
import pymarket
from pymarket.statistics.maximum_aggregated_utility import maximum_aggregated_utility
from pymarket.statistics.maximum_traded_volume import maximum_traded_volume

def program(solve, bids, **prices):
    start = time.perf_counter()
    status, best, pairs = solve(bids, **prices)
    return {"status": status, "best": best, "volume_mwh": sum(q or 0 for q in pairs.values()), "s": time.perf_counter() - start}

answers, null = os.fdopen(os.dup(1), "w"), os.open(os.devnull, os.O_WRONLY)
os.dup2(null, 1)
for line in sys.stdin:
    bids, runs, with_volume = json.loads(line)
    result = {}
    with contextlib.redirect_stdout(io.StringIO()):
        market = pymarket.Market()
        for energy, price, member, buying in bids:
            market.accept_bid(energy, price, member, buying)
        for auction in ("huang", "muda"):
            result[auction] = []
            for _ in range(runs):
                start = time.process_time()
                market.run(auction)
                result[auction].append(time.process_time() - start)
        frame = market.bm.get_df()
        result["welfare"] = program(maximum_aggregated_utility, frame)
        keen = {i: row.price + 0.25 * row.buying for i, row in frame.iterrows()}   # prices are whole: of equally good ways the one that trades most
        result["most"] = program(maximum_aggregated_utility, frame, reservation_prices=keen)
        result["volume"] = program(maximum_traded_volume, frame) if with_volume else None
    print(json.dumps(result), file=answers, flush=True)
"""


def interpreter(say=print):
    """The Python that has pymarket, made if it is not there yet; None, and why was said, where packages cannot be had."""
    python, stamp = ROOM / "bin" / "python", ROOM / "installed.txt"
    pinned = PINNED.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == pinned:
        return python
    say(f"pymarket: making its environment in {ROOM.relative_to(ROOM.parents[2])} (once)")
    venv.create(ROOM, with_pip=True, clear=True)
    try:
        done = subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", PINNED], capture_output=True,
                              text=True, timeout=_MAKING_S, check=False)
    except subprocess.TimeoutExpired:
        say(f"pymarket: not installed within {_MAKING_S} s; its columns are left out")
        return None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        say(f"pymarket: cannot be installed ({errors[-1] if errors else 'pip failed'}); its columns are left out")
        return None
    stamp.write_text(pinned, encoding="utf-8")
    return python


def ask(python, books):
    """One answer per book. `books`: [([(energy, price, member, buys), …], runs, with the volume program)]."""
    done = subprocess.run([python, "-c", _SCRIPT], input="".join(json.dumps(book) + "\n" for book in books), capture_output=True,
                          text=True, check=False)
    if done.returncode:
        sys.exit(f"pymarket stopped: {done.stderr.strip().splitlines()[-1]}")
    return [json.loads(line) for line in done.stdout.splitlines()]
