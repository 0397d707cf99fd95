"""README and the pages beside it: what they name is there, and the bytes they show are those of a record."""
import argparse
import importlib.util
import re
import struct
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prosumer_tools import cli
from prosumer_tools.profiles import load_street, read_profiles
from prosumer_tools.profiles.street import check_profiles
from prosumer_tools.verify import records
from prosumer_tools.verify.keys import Key

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "boards/INSTALLER.md", "host_tools/OPERATOR.md",
                                  "tests/RESEARCHER.md", "firmware/ARCHITECTURE.md")]
DECISIONS = sorted((ROOT / "firmware/decisions").glob("*.md"))
BOARDS = sorted((ROOT / "boards").glob("*/board.md"))
ALL = PAGES + DECISIONS + BOARDS


def load_make():
    spec = importlib.util.spec_from_file_location("readme_make", ROOT / "host_tools/readme/make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = load_make()


def code_of(text):
    """What is set as code: blocks that are indented or fenced (a shell's), and words between backticks."""
    fenced = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    bare = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    lines = [line.strip() for line in bare.splitlines() if line.startswith("    ")]
    return lines + re.findall(r"`([^`\n]+)`", bare) + [line for kind, block in fenced if kind == "sh" for line in block.splitlines()]


def options_of(command):
    """Of a command, and of the actions below it."""
    parsers = [cli.parser()._subparsers._group_actions[0].choices[command]]
    for action in parsers[0]._actions:
        parsers += (action.choices or {}).values() if isinstance(action, argparse._SubParsersAction) else []
    return {option for parser in parsers for action in parser._actions for option in action.option_strings}


def name_of(path):
    return str(path.relative_to(ROOT))


def heading_anchors(text):
    titles = [line.lstrip("#").strip().lower() for line in text.splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        assert not re.match(r"\w+://", target), f"{target}: pages name sites, they do not link to them"
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists() and there.is_relative_to(ROOT), f"{target} leads nowhere"
        if anchor:
            assert anchor in heading_anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_every_command_that_is_named_exists(page):
    for code in code_of(page.read_text(encoding="utf-8")):
        found = re.match(r"(?:\.venv/bin/)?prosumer ([a-z][a-z-]*)\b(.*)", code)
        if found:
            command, rest = found.groups()
            assert command in cli.COMMANDS, code
            for option in re.findall(r"(?<!\S)--[a-z-]+", rest.partition("#")[0]):
                assert option in options_of(command), code


def test_every_target_of_make_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    codes = [code.partition("#")[0].strip() for page in ALL for code in code_of(page.read_text(encoding="utf-8"))]
    named = {code.split(" ")[1] for code in codes if re.fullmatch(r"make [a-z-]+", code)}
    assert {"demo", "test"} <= named <= targets


def test_paths_that_pages_name_exist():
    for page in PAGES + DECISIONS:
        for code in code_of(page.read_text(encoding="utf-8")):
            for path in re.findall(r"(?<![\w/.])((?:firmware|host_tools|boards|tests)/[\w/.*-]+)", code):
                assert "NAME" in path or list(ROOT.glob(path.rstrip("/."))), f"{name_of(page)}: {path}"


def test_every_board_and_every_page_is_found_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"]({name_of(page)})" in readme, page
    installer = (ROOT / "boards/INSTALLER.md").read_text(encoding="utf-8")
    for board in (ROOT / "boards").glob("*/board.py"):
        assert f"]({board.parent.name}/board.md)" in installer


def test_the_architecture_page_names_every_module():
    text = (ROOT / "firmware/ARCHITECTURE.md").read_text(encoding="utf-8")
    for path in (ROOT / "firmware/prosumer").rglob("*.py"):
        if path.stem != "__init__" and path.parent.name != "hal":
            assert re.search(rf"\b{path.stem}\b", text), f"{path.name} has no place on the page"


def test_decisions_are_numbered_and_say_all_four_things():
    assert [path.name[:4] for path in DECISIONS] == [f"{i:04}" for i in range(1, len(DECISIONS) + 1)]
    for path in DECISIONS:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        assert re.findall(r"^\*\*(\w+):\*\*", text, re.M) == ["Asked", "Decided", "Why", "Follows"], path.name


# -- the walk in README.md

def shown():
    return make.check_block(make.block_of((ROOT / "README.md").read_text(encoding="utf-8")))


def test_the_walk_shows_the_bytes_that_it_says():
    faults, _ = shown()
    assert not faults


def test_the_walk_holds_together():
    _, raw = shown()
    reading = records.Reading.read(records.Reader(raw["signed reading"], "reading"), "reading")
    header = records.Header.read(records.Reader(raw["header"], "header"), "header")
    order = records.Order.read(records.Reader(raw["order"], "order"), "order")
    assert (order.member, order.slot) == (reading.member, reading.slot) and order.sell
    assert header.slot == reading.slot + 1
    price, volume = struct.unpack(">II", raw["clearing"])
    assert order.sell[0][0] <= price and volume > 0, "it sold at the price"
    layout = ">" + "".join(code.strip(">") for code in make.ACCOUNT[1::2])
    account = dict(zip(make.ACCOUNT[::2], struct.unpack(layout, raw["settlement"]), strict=True))
    assert account["next_slot"] == reading.slot + 1 and account["export_mwh"] == reading.export_mwh
    assert account["head"] == records.sha256(raw["message"]), "the account goes on from this reading's hash"


def test_the_signature_in_the_walk_is_good_and_a_changed_byte_is_not():
    _, raw = shown()
    assert Key(raw["key"]).signed(raw["message"], raw["signature"])
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(raw["key"]).verify(raw["signature"], raw["message"][:-1] + bytes([raw["message"][-1] ^ 1]))


def test_a_damaged_walk_is_noticed():
    block = make.block_of((ROOT / "README.md").read_text(encoding="utf-8"))
    line = next(line for line in block.splitlines() if line.startswith("previous"))
    assert make.check_block(block.replace(line, line[:-2]))[0]
    assert make.check_block(block.replace("**4. order**", "**4. orders**"))[0]


def test_the_picture_is_a_small_png():
    data = make.PICTURE.read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) < 300_000
    assert f"]({name_of(make.PICTURE)})" in (ROOT / "README.md").read_text(encoding="utf-8")


# -- what the pages give to copy

def blocks(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


def test_the_researchers_street_can_be_read(tmp_path):
    (profile,), (street,) = blocks("tests/RESEARCHER.md", "csv"), blocks("tests/RESEARCHER.md", "toml")
    (tmp_path / "street.csv").write_text(profile)
    (tmp_path / "street.toml").write_text(street)
    check_profiles(load_street(tmp_path / "street.toml"), read_profiles(tmp_path / "street.csv"))
