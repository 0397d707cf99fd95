"""A sample of the adversary's search (the full counts: make soak), and the proof that it would find what it looks for."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MICROPYTHON = Path(sys.executable).parent / "micropython"
SAMPLE = [("4,5,6,7", 60), ("8,9", 40), ("10,13", 10)]


def simulate(**options):
    args = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run([MICROPYTHON, "-X", "heapsize=16M", ROOT / "tests/sim/run_sim.py", "--json", *args],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1) and not done.stderr, done.stdout[-2000:] + done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def explore(**options):
    args = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run([sys.executable, ROOT / "tests/sim/small_model.py", "--json", *args],
                          capture_output=True, text=True, timeout=120)
    assert not done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("n,schedules", SAMPLE)
def test_no_conflict_no_broken_word_and_every_honest_slot_final(n, schedules):
    for result in simulate(n=n, schedules=schedules, seed=1):
        assert result["found"] is None, result
        assert result["schedules"] == schedules
        assert result["finals"] > 5 * schedules and result["honest_slots"] >= 2 * schedules, "the search does something"


@pytest.mark.parametrize("rule,n,seed", [("quorum", 8, 401), ("lock", 4, 1), ("finalize", 4, 301), ("amnesia", 4, 1)])
def test_a_broken_rule_is_found(rule, n, seed):
    """The seeds save time only: any other finds it too, within some hundreds of schedules on average."""
    (result,) = simulate(n=n, schedules=8000, seed=seed, **{"break": rule})
    assert result["found"] and result["found"][1].startswith("conflict"), result


def test_the_found_schedule_repeats_from_its_seed():
    (first,) = simulate(n=4, schedules=100, seed=1, **{"break": "lock"})
    (again,) = simulate(n=4, schedules=1, seed=first["found"][0], **{"break": "lock"})
    assert again["found"] == first["found"]


def test_a_block_vote_after_the_dummy_vote_is_safe():
    """The paper allows it; the core does not. A control: the search cries out at broken rules only."""
    (result,) = simulate(n=4, schedules=300, seed=1, **{"break": "late"})
    assert result["found"] is None


def test_every_state_of_the_small_street():
    result = explore(n=4, last=2, liar=1)
    assert result["complete"] and result["found"] is None and result["states"] > 200_000


SMALL = [("quorum", 5, 1, 1), ("lock", 4, 2, 2), ("finalize", 4, 2, 1), ("amnesia", 4, 2, 1)]


@pytest.mark.parametrize("rule,n,last,liar", SMALL)
def test_a_broken_rule_is_found_in_the_small_street(rule, n, last, liar):
    assert explore(n=n, last=last, liar=liar, **{"break": rule})["found"]


def members(**options):
    args = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return subprocess.run([MICROPYTHON, "-X", "heapsize=16M", ROOT / "tests/sim/run_members.py", *args], capture_output=True, text=True, timeout=280)


def test_members_change_while_the_network_is_bad():
    done = members(n="4,5", schedules=1, seed=35)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    assert "amendments=0" not in done.stdout and "seed=" not in done.stdout, done.stdout


def test_a_block_behind_one_that_changes_who_votes_is_found():
    done = members(n=4, schedules=1, seed=20, **{"break": "stop"})
    assert done.returncode == 1 and "found" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("script", ["run_sim.py", "run_members.py"])
def test_a_wrong_option_is_told_how_it_is_used(script):
    for wrong in (["--help"], ["--rounds", "3"], ["--n"]):
        done = subprocess.run([MICROPYTHON, "-X", "heapsize=16M", ROOT / "tests/sim" / script, *wrong], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2 and "micropython" in done.stdout and "--schedules" in done.stdout and not done.stderr, done.stdout + done.stderr
