"""The enrolled meter: main.py runs the agent, whatever was done on its serial port before."""
from conftest import SCRIPTS


def test_the_agent_runs_again_after_a_soft_reset(enrolled):
    enrolled.mpremote("exec", "print('stopped')")
    assert b"runs" in enrolled.type(b"\x03\x02\x04", b"runs\r\n")


def test_a_terminal_stops_it_and_a_reset_starts_it_again(enrolled):
    enrolled.type(b"\x03\x02\x04", b"runs\r\n")
    assert b"KeyboardInterrupt" in enrolled.type(b"\x03", b">>> ")
    assert b"runs" in enrolled.type(b"import machine\rmachine.reset()\r", b"runs\r\n")


def test_what_it_keeps_in_flash_survives_being_stopped(enrolled):
    enrolled.type(b"\x03\x02\x04", b"runs\r\n")
    before = enrolled.mpremote("fs", "sha256sum", ":/genesis.bin", "+", "fs", "sha256sum", ":/seed.key")
    assert enrolled.mpremote("fs", "ls", ":/data").count("\n") > 1
    enrolled.type(b"\x03\x02\x04", b"runs\r\n")
    assert enrolled.mpremote("fs", "sha256sum", ":/genesis.bin", "+", "fs", "sha256sum", ":/seed.key") == before


def test_its_session_bears_what_a_broker_may_send(meter):
    output = meter.mpremote("run", SCRIPTS / "session.py")
    assert output.count("PASS") == 5, output
