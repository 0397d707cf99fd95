"""Lets pytest collect the firmware's unit tests, which run on the MicroPython Unix port, beside the host tests."""
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

# A shell starts background jobs with Ctrl-C ignored, and children inherit that; tests send Ctrl-C to what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The same examples on every machine, so that a change is what makes a test fail; HYPOTHESIS=search looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS", "same"))

ROOT = Path(__file__).resolve().parent.parent
MICROPYTHON = Path(sys.executable).parent / "micropython"
HEAP = os.environ.get("UNIT_HEAP", "4M")  # tests hold vectors beside the firmware; device heaps are checked in tests/agent


def pytest_addoption(parser):
    group = parser.getgroup("meter", "the meter that tests/agent runs on")
    group.addoption("--sim", action="store_true", help="an emulated one (default)")
    group.addoption("--dev", metavar="PORT", help="a real board on this serial port; its enrolment is left as it is")


def pytest_pycollect_makemodule(module_path, parent):
    """Files in tests/unit are not imported by CPython: they run on the Unix port."""
    return UnixPortFile.from_parent(parent, path=module_path) if module_path.parent.name == "unit" else None


class UnixPortFile(pytest.File):
    """One file of unit tests: run once in one MicroPython process, its lines dealt out to the items."""

    _output = None

    def collect(self):
        for name in re.findall(r"^def (test_\w+)\(", self.path.read_text(), re.M):
            yield UnixPortTest.from_parent(self, name=name)

    def output(self):
        if self._output is None:
            done = subprocess.run([MICROPYTHON, "-X", f"heapsize={HEAP}", ROOT / "tests/unit/run.py", self.path],
                                  capture_output=True, text=True, timeout=300, cwd=ROOT)
            self._output = done.stdout + done.stderr
        return self._output


class UnixPortTest(pytest.Item):
    def runtest(self):
        output = self.parent.output()
        if f"PASS {self.name}\n" in output:
            return
        found = re.search(rf"FAIL {self.name}\n(.*?)(?=^(?:PASS|FAIL) |^\d+ passed|\Z)", output, re.M | re.S)
        raise UnixPortFailure(found.group(0) if found else f"{self.name} never ran:\n{output[-3000:]}")

    def repr_failure(self, excinfo):
        return str(excinfo.value)

    def reportinfo(self):
        return self.path, None, f"{self.path.stem}::{self.name} (Unix port)"


class UnixPortFailure(Exception):
    """A test that failed inside the MicroPython process."""
