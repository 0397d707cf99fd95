"""That what becomes a key on an ESP32 comes from the register of its own generator while the radio feeds it, or nothing does."""
import os

from chip_esp32 import Bitten, Chip, Registers
from prosumer.errors import Halt
from prosumer.identity.entropy import draw, prove
from prosumer.identity.keystore import KeyStore

ESP32 = 0x60035144, 0x3FF000CC, 0x83C9
CHIPS = (("Generic ESP32 module with ESP32", ESP32), ("Generic ESP32 module (spiram) with ESP32", ESP32), ("M5Stack Atom with ESP32-PICO-D4", ESP32),
         ("Generic ESP32 module with ESP32-UNICORE", ESP32), ("Generic ESP32 module with ESP32-D2WD", ESP32),
         ("Generic ESP32S3 module with ESP32S3", (0x6003507C, 0x60026014, 0x78878F)),
         ("UM OMGS3 with ESP32-S3-PICO-1-N8R2", (0x6003507C, 0x60026014, 0x78878F)),
         ("LOLIN_S2_MINI with ESP32-S2FN4R2", (0x60035110, 0x3F426090, 0x83C9)), ("LOLIN_C3_MINI with ESP32-C3FH4", (0x600260B0, 0x60026014, 0x78878F)))


def board(chip):
    from prosumer.hal.esp32 import Esp32  # not before the stand-ins are there
    return Esp32()


def halts(reason, call, *args):
    try:
        call(*args)
    except Halt as e:
        return e.args == (reason,)
    return False


def seed_from(noise, urandom=bytes):
    chip = Chip()
    chip.registers.noise = noise
    chip.urandom = urandom
    return bytes(draw(board(chip).noise, 32))


def test_each_known_family_is_read_at_its_own_registers():
    for name, registers in CHIPS:
        chip = Chip()
        chip.machine, chip.registers = name, Registers(chip, *registers)
        assert len(draw(board(chip).noise, 32)) == 32, name
        assert chip.registers.read == 1024 and chip.registers.noise == 1024, "each byte is a reading of its own, and each was fed"


def test_a_family_whose_registers_nobody_looked_up_makes_no_key():
    for name in ("Generic ESP32C6 module with ESP32-C6", "Generic ESP32P4 module with ESP32-P4", "ESP32-C5", "ESP32-H2", "a board with ESP8266", "ESP32-X", ""):
        chip = Chip()
        chip.machine = name
        assert halts("entropy-unknown-chip", board(chip).noise, 1) and chip.registers.read == 0, name
    chip = Chip()
    chip.machine = "Generic ESP32 module with ESP32"  # and it is an S3
    try:
        board(chip).noise(1)
        assert False
    except Bitten:
        pass


def test_what_os_urandom_is_bound_to_does_not_matter():
    assert seed_from(0) == seed_from(0, lambda n: b"x" * n), "the seed has nothing of it"
    assert seed_from(0) != seed_from(1), "and changes with what the converter adds"


def test_an_active_interface_is_not_a_running_radio():
    chip = Chip()
    hal = board(chip)
    assert chip.wlan.active() and not chip.registers.awake()
    hal.noise(1)
    assert chip.registers.awake() and chip.wlan.ssid == "prosumer" and chip.us < 1000000, "it looks for a network to keep the radio awake"
    chip.work(5000000)
    assert not chip.registers.awake()
    for _ in range(32):
        hal.noise(32)
    assert chip.registers.noise == 1 + 1024


def test_without_the_radio_there_is_no_key():
    path = "entropy_test.seed"
    if KeyStore(path, b"").exists():
        os.remove(path)  # of a run that failed
    for fault in ("interface", "radio clock", "generator clock"):
        chip = Chip()
        chip.wlan.works = fault != "interface"
        chip.registers.off = {"radio clock": 0x400, "generator clock": 0x8000}.get(fault, 0)
        hal = board(chip)
        store = KeyStore(path, b"a binding")
        assert halts("entropy-radio-off", store.create, hal.noise) and not store.exists(), fault
        assert chip.registers.read == 0 and 10000000 < chip.us < 11000000, "not before it had its time"
        assert halts("entropy-radio-off", hal.entropy, 1)


def test_a_radio_that_stops_in_the_middle_ends_it():
    chip = Chip()
    hal = board(chip)
    hal.noise(31)
    chip.registers.off = 1
    assert halts("entropy-radio-off", draw, hal.noise, 32) and chip.registers.read == 31


def test_a_register_that_stands_still_is_found():
    for stuck in 0, 0xFFFFFFFF, 0x12345678:
        chip = Chip()
        chip.registers.stuck = stuck
        assert halts("entropy-repeats", draw, board(chip).noise, 32)


def test_a_generator_that_begins_anew_at_each_boot_is_found():
    path = "entropy_test.drawn"
    try:
        for boot, found in enumerate((False, True)):
            chip = Chip()
            assert halts("entropy-repeats", prove, board(chip).noise, path) == found, boot
        chip = Chip()
        chip.registers.noise = 9
        prove(board(chip).noise, path)
    finally:
        os.remove(path)


def test_readings_are_not_faster_than_the_generator():
    chip = Chip()
    hal = board(chip)
    hal.noise(1)
    before = chip.us
    hal.noise(256)
    assert chip.us - before >= 256 * 22 and chip.registers.noise == 257


def test_everyday_entropy_hangs_on_the_register_too_and_needs_no_radio_any_more():
    drawn = []
    for noise in range(2):
        chip = Chip()
        chip.registers.noise = noise
        hal = board(chip)
        hal.noise(32)
        chip.wlan.on = False  # no network for a day: the meter goes on
        drawn += [hal.entropy(16) for _ in range(50)]
        assert [len(hal.entropy(n)) for n in (1, 8, 16, 32)] == [1, 8, 16, 32]
    assert len(set(drawn)) == 100


def test_the_network_that_kept_the_radio_awake_is_left():
    chip = Chip()
    chip.hal_module._settings = lambda: {"wifi": {"ssid": "home", "password": "right"}}
    hal = board(chip)
    hal._begin = lambda: None
    hal.noise(1)
    chip.wlan.joined = chip.wlan.isconnected = lambda: True  # somebody answers to that name
    hal.now_ms()
    assert chip.wlan.ssid == "home" and chip.wlan.pm == 0


def test_a_key_is_bound_to_what_no_file_of_the_board_holds():
    chip = Chip()
    hal = board(chip)
    binding = hal.binding()
    assert len(binding) == 38 and binding[:6] == hal.unique_id() and binding == board(chip).binding()
    assert binding[6:] == chip.nvs["prosumer", "binding"]
    chip.nvs_fault = -0x1105  # it is there and cannot be read now: another one would be the end of the key
    try:
        board(chip).binding()
        assert False
    except OSError:
        pass
    chip.nvs_fault = None
    assert board(chip).binding() == binding
    other = Chip()
    other.registers.noise = 1  # with the same number
    assert board(other).binding()[:6] == binding[:6] and board(other).binding() != binding
    chip = Chip()
    chip.registers.off = 1
    assert halts("entropy-radio-off", board(chip).binding) and not chip.nvs
