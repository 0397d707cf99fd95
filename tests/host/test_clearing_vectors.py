"""The firmware against the conformance corpus, and the corpus against the reference it came from."""
import json
from pathlib import Path

import pytest
from reference_clearing import by_vertices, welfare_by_lp, welfare_of

from prosumer_tools.commands.clear import BadInput, clear_books

FILES = sorted((Path(__file__).resolve().parents[1] / "vectors/clearing").glob("*.json"))
CASES = {path.stem: json.loads(path.read_text()) for path in FILES}
GOOD = {name: case for name, case in CASES.items() if "result" in case}


@pytest.fixture(scope="module")
def answers():
    return dict(zip(CASES, clear_books([case["book"] for case in CASES.values()])))


def test_the_corpus_is_whole():
    assert len(GOOD) >= 30 and len(CASES) - len(GOOD) >= 15
    for name, case in CASES.items():
        assert set(case) in ({"why", "book", "result"}, {"why", "book", "refused"}), name


@pytest.mark.parametrize("name", CASES)
def test_firmware_gives_the_result_or_the_reason(answers, name):
    answer, case = answers[name], CASES[name]
    if "result" in case:
        assert answer == case["result"]
    else:
        assert isinstance(answer, BadInput)
        who = case["refused"]["member"]
        assert str(answer).startswith(("" if who is None else f"member {who}: ") + case["refused"]["code"])


@pytest.mark.parametrize("name", GOOD)
def test_reference_and_highs_agree_with_the_corpus(name):
    book, result = GOOD[name]["book"], GOOD[name]["result"]
    assert by_vertices(book) == result
    assert welfare_of(book, result) == pytest.approx(welfare_by_lp(book), rel=1e-9, abs=1e-3)
