"""A short sample of the soak (tests/soak_street.py): a kill, a broker that restarts in the agreement, a clock that steps, a partition."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import soak_street as soak
from prosumer_tools.emulator.device import Device

GATE = soak.SLOT_S - soak.GATE_S


def test_one_of_each_fault_costs_no_slot_and_all_are_back_by_the_next_gate(tmp_path):
    faults = [(400, "kill", ("cedar",), 900), (soak.SLOT_S + GATE + 1, "broker", (), 4), (2 * soak.SLOT_S + 60, "step", ("dogwood", -20_000), 900),
              (3 * soak.SLOT_S + 60, "partition", ("alder",), 900)]
    figures = soak.play(tmp_path, 4, faults=sorted(faults), slots=5)
    assert figures["verified"], figures["verify_faults"]
    assert figures["void"] == 0 and not figures["lost"]
    assert {what: (row["times"], max(row["missed"]), row["never"]) for what, row in figures["faults"].items()} == {
        what: (1, 0, []) for what in ("kill", "broker", "step", "partition")}
    assert figures["faults"]["kill"]["seconds"][0] >= GATE - 400, "a vote for what was final before is no recovery"
    assert figures["faults"]["kill"]["late_s"][0] < 30
    assert set(figures["final_slots"].values()) <= {4, 5}
    assert max(figures["faults"]["broker"]["seconds"]) < 30


def test_a_drifting_clock_never_goes_back_and_its_inverse_is_the_first_moment():
    class Clock:
        local_ms, virtual_ms = Device.local_ms, Device.virtual_ms

    clock = Clock()
    for rate in (-100, -37.5, 0, 3, 100):
        clock.error_ms = soak.drift(rate, 1234)
        assert max(abs(clock.error_ms(now)) for now in range(0, 9_000_000, 977)) < 361, "an hour at 100 ppm is 360 ms"
        last = 0
        for now in range(1_700_000_000_000, 1_700_000_000_000 + 8_000_000, 49_999):
            local = clock.local_ms(now)
            assert local > last
            last = local
            first = clock.virtual_ms(local)
            assert first <= now and clock.local_ms(first) >= local and clock.local_ms(first - 1) < local
