"""The radio's part of the stand-in chip (chip_esp32.py): a station, a time server, and the generator that is random while the radio runs."""
import struct
from hashlib import sha256


class Bitten(Exception):
    """The watchdog reset the chip."""


class Ntp:
    """A time server; `mood`: honest, silent, forged, unsure, or an offset of its clock in ms."""

    def __init__(self, chip):
        self.chip = chip
        self.mood = "honest"
        self.offset_ms = 0
        self.unknown = False
        self.asked = self.opened = 0
        self._answer = None

    def open(self):
        self.opened += 1
        self._answer = None
        return self

    def connect(self, address):
        if address[1] != 123:
            raise OSError(22)

    def setblocking(self, flag):
        pass

    def close(self):
        pass

    def send(self, packet):
        if not self.chip.wlan.joined():
            raise OSError(113)
        if len(packet) != 48 or packet[0] != 0x23:
            raise OSError(22)
        self.asked += 1
        if self.mood == "silent":
            return
        ms = self.chip.unix_ms() + self.offset_ms + 2208988800000
        out = bytearray(48)
        out[0], out[1] = 0x24, 0 if self.mood == "unsure" else 2
        out[24:32] = bytes(8) if self.mood == "forged" else packet[40:48]
        struct.pack_into(">II", out, 40, ms // 1000 & 0xFFFFFFFF, (ms % 1000 << 32) // 1000)
        self._answer = self.chip.us + 30000, bytes(out)

    def ready_us(self):
        return self._answer[0] if self._answer else None

    def recv(self, n):
        if not self._answer or self._answer[0] > self.chip.us:
            raise OSError(11)
        data, self._answer = self._answer[1], None
        return data


class Registers:
    """machine.mem32: the generator's data, and a register in which those of `running` are set while the radio runs. It sleeps when it can.

    Without the radio the generator goes on by itself from where it stood: whoever knows that state knows what comes. A second reading
    within 22 us is no news on an S3, and not for this part."""

    def __init__(self, chip, data, clocks, running):
        self.chip, self.data, self.clocks, self.running = chip, data, clocks, running
        self.noise = 0  # what the converter adds; a test may set where it begins
        self.stuck = None
        self.off = 0  # clocks that do not start
        self.state, self.last_us, self.read = b"", -1000, 0

    def awake(self):
        wlan = self.chip.wlan
        return wlan.on and (wlan.joined() and not wlan.pm or self.chip.us < wlan.seeks_until)

    def __getitem__(self, address):
        if address == self.clocks:
            return 0xFFF87870 | (self.running & ~self.off if self.awake() else 0)
        if address != self.data:
            raise Bitten("no such register: the processor faults")
        if self.chip.us - self.last_us >= 22:
            if self.awake() and not self.off:
                self.noise += 1
            self.state = sha256(self.state + bytes([self.noise & 255])).digest()
            self.last_us = self.chip.us
        self.read += 1
        return int.from_bytes(self.state[:4], "little") if self.stuck is None else self.stuck


class Wlan:
    """A station; it joins after some tries, or never for a reason."""

    def __init__(self, chip):
        self.chip = chip
        self.on = False
        self.works = True  # the radio can be switched on
        self.tries_needed = 1
        self.refusal = None
        self.tries = 0
        self.password = "right"
        self.ssid = None
        self.pm = 1  # the radio sleeps between beacons
        self.seeks_until = -1

    def active(self, flag=None):
        if flag is not None:
            self.on = flag and self.works
        return self.on

    def connect(self, ssid, password):
        if not self.on:
            raise OSError("Wifi Not Started")
        self.seeks_until = self.chip.us + 2500000
        self.ssid = ssid
        if ssid != "home":
            return
        self.tries += 1
        if password != self.password:
            self.refusal = 202

    def config(self, pm):
        self.pm = pm

    def disconnect(self):
        self.ssid = None

    def joined(self):
        return self.on and self.ssid == "home" and not self.refusal and self.tries >= self.tries_needed

    isconnected = joined

    def status(self):
        return 1010 if self.joined() else self.refusal or 1001


class Network:
    STA_IF = 0
    STAT_WRONG_PASSWORD = 202
    STAT_NO_AP_FOUND = 201

    def __init__(self, chip):
        self.WLAN = lambda interface: chip.wlan
