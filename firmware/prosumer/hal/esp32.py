"""Hardware layer of ESP32 boards: wireless network, time, watchdog. See hal/__init__.py for the contract.

esp32_i2s, esp32_burst and esp32_chip add the front ends.

The first call of now_ms() brings up network and time and starts sampling, for as long as that takes: a meter whose house
waits for its router after a power cut must not give up. What it waits for is on the console.
"""
import json
import os
import select
import socket
import time
from hashlib import sha256

import esp32
import machine
import network
from micropython import const

from prosumer.errors import Halt, Reject
from prosumer.hal.clock import LEAST_MS, Clock, answer_ms, request

_WATCHDOG_MS = const(60000)
_JOIN_MS = const(20000)
_SLICE_MS = const(500)
_NTP_MS = const(3600000)
_NTP_AGAIN_MS = const(64000)
_FROM_1970_MS = 946684800000  # to 2000, where these ports' clocks begin
_NOT_FOUND = const(-0x1102)  # ESP_ERR_NVS_NOT_FOUND
_RADIO_MS = const(10000)
_SAMPLE_US = const(25)

# RNG_DATA_REG, the register of the radio's clocks, and those of generator and radio in it; sources and what they prove: decisions/0019.
_ESP32 = const((0x60035144, 0x3FF000CC, 0x83C9))
_CHIPS = (("ESP32S3", (0x6003507C, 0x60026014, 0x78878F)), ("ESP32C3", (0x600260B0, 0x60026014, 0x78878F)), ("ESP32S2", (0x60035110, 0x3F426090, 0x83C9)),
          ("ESP32PICO", _ESP32), ("ESP32D2WD", _ESP32), ("ESP32UNICORE", _ESP32))


class Esp32:
    """All but the front end, which `_begin()` starts once the time is known.

    plugs: pins at the switches of the clamps' jacks, in the clamps' order; a switch ties its pin to ground when the plug is out."""

    lost = 0

    def __init__(self, plugs=()):
        self._plugs = [machine.Pin(n, machine.Pin.IN, machine.Pin.PULL_UP) for n in plugs]
        self._wlan = network.WLAN(network.STA_IF)
        self._wlan.active(True)
        self._wlan.config(pm=0)  # WIFI_PS_NONE: the radio does not sleep between beacons, nor does what neighbours say wait for one
        self._pool = b""
        self._seeking = False
        self._clock = self._watchdog = self._sock = self._udp = None
        self._poll = select.poll()

    def entropy(self, n):
        if not self._pool:
            self.noise(32)
        self._pool = sha256(self._pool + os.urandom(32)).digest()
        return sha256(b"out" + self._pool).digest()[:n]

    def noise(self, n):
        """Bytes of the register of the chip's own generator, each read while the clocks of generator and radio run; os.urandom has no part in it.

        It is a true generator only while the converter of a running radio feeds it (TRM, Random Number Generator), and an active interface is
        not enough: without a connection the driver lets the radio sleep. One byte each 25 us is slower than what Espressif tested: 5 MHz (TRM),
        on an S3 45 kHz (esp_hw_support/hw_random.c). Halt('entropy-unknown-chip' | 'entropy-radio-off').
        """
        memory, (register, clocks, running) = machine.mem32, _registers(os.uname()[4])
        out = bytearray(n)
        waited = 0
        for i in range(n):
            while not self._wlan.active() or memory[clocks] & running != running:
                if waited >= _RADIO_MS:
                    raise Halt("entropy-radio-off")
                if waited % 2000 == 100:
                    self._seek()
                self._nap(10)
                waited += 10
            time.sleep_us(_SAMPLE_US)
            out[i] = memory[register] & 255
        self._pool = sha256(self._pool + out).digest()
        return out

    def unique_id(self):
        return machine.unique_id()

    def binding(self):
        """The chip's number, which is its MAC address and no secret, and 32 bytes of its NVS partition, which no copy of its files has."""
        nvs, secret = esp32.NVS("prosumer"), bytearray(32)
        try:
            nvs.get_blob("binding", secret)
        except OSError as e:
            if e.args[0] != _NOT_FOUND:
                raise
            from prosumer.identity.entropy import draw
            secret = draw(self.noise, 32)
            nvs.set_blob("binding", secret)
            nvs.commit()
        return machine.unique_id() + secret

    def now_ms(self):
        if not self._clock:
            self._start()
        return self._clock.now_ms()

    def set_power(self, name, power_mw):
        raise Halt("no-actuator-" + name)

    def plant(self):
        return 0, 0, 0, 0, 0, 1

    def wait(self, deadline_ms, link=None):
        sock = link.sock if link else None
        if sock is not self._sock:
            if self._sock is not None:
                self._poll.unregister(self._sock)
            if sock is not None:
                self._poll.register(sock, select.POLLIN)
            self._sock = sock
        while True:
            now = self.now_ms()
            if now >= self._ntp_ms:
                self._ask_again(now)
            for source, _ in self._poll.ipoll(max(0, min(deadline_ms - now, _SLICE_MS))):
                if source is not self._udp:
                    return True
                self._hear()
            if now >= deadline_ms:
                return False

    @property
    def out(self):
        return sum([1 << k for k, pin in enumerate(self._plugs) if not pin.value()])

    def network_up(self):
        return self._wlan.isconnected()

    def feed(self):
        if self._watchdog:
            self._watchdog.feed()

    def reset(self):
        machine.reset()

    # -- start

    def _start(self):
        settings = _settings()
        if "wifi" not in settings:
            raise Halt("no-wifi-in-config")
        self._watchdog = machine.WDT(timeout=_WATCHDOG_MS)
        self._server = settings.get("ntp", "pool.ntp.org")
        unix_ms = None
        while unix_ms is None:
            if self._join(settings["wifi"]):
                unix_ms = self._first_time()
                if unix_ms is None:
                    self._nap(5000)
            if unix_ms is None and _rtc_ms() >= LEAST_MS:  # it goes on through every reset but a power cut
                unix_ms = _rtc_ms()
                print("no time from the network; going on with the chip's clock")
        self._clock = Clock(unix_ms, time.ticks_ms, time.ticks_diff)
        self._ntp_ms = unix_ms + _NTP_AGAIN_MS
        year, month, day, hour, minute, second, weekday = time.gmtime(unix_ms // 1000 - _epoch_ms() // 1000)[:7]
        machine.RTC().datetime((year, month, day, weekday, hour, minute, second, 0))
        self._begin()

    def _seek(self):
        """Looking for a network keeps the radio awake; there need not be one, and `_join` leaves one that answers to this name."""
        self._seeking = True
        try:
            self._wlan.connect("prosumer", "0123456789")
        except OSError:
            pass  # it is looking already

    def _join(self, wifi):
        wlan = self._wlan
        try:
            if self._seeking or not wlan.isconnected():
                self._seeking = False
                wlan.disconnect()
                wlan.connect(wifi["ssid"], wifi["password"])
            for _ in range(_JOIN_MS // 100):
                if wlan.isconnected():
                    return True
                self._nap()
        except OSError as e:
            print("network:", e)
            self._nap()
        why = {network.STAT_WRONG_PASSWORD: "wrong password", network.STAT_NO_AP_FOUND: "not in reach"}
        print("waiting for the network", wifi["ssid"] + ":", why.get(wlan.status(), "no connection"))
        return False

    def _first_time(self):
        for _ in range(3):
            try:
                if not self._udp:
                    self._open()
                self._send()
                for _ in range(20):
                    for _ in self._poll.ipoll(100):
                        return answer_ms(self._udp.recv(64), self._nonce)
                    self.feed()
            except (OSError, Reject) as e:
                print("time server", self._server + ":", e)
                self._nap()
        print("waiting for the time from", self._server)

    def _nap(self, ms=100):
        self.feed()
        time.sleep_ms(ms)

    # -- time

    def _open(self):
        address = socket.getaddrinfo(self._server, 123)[0][-1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.connect(address)  # datagrams of others are not for us
        udp.setblocking(False)
        self._udp = udp
        self._poll.register(udp, select.POLLIN)

    def _send(self):
        self._nonce = self.entropy(8)
        self._udp.send(request(self._nonce))

    def _ask_again(self, now):
        self._ntp_ms = now + _NTP_AGAIN_MS
        try:
            if not self._udp:
                self._open()
            self._send()
        except OSError:
            self._close()  # the server may have moved: look its name up again

    def _hear(self):
        try:
            if self._clock.correct(answer_ms(self._udp.recv(64), self._nonce)):
                self._ntp_ms = self._clock.now_ms() + _NTP_MS
                self._nonce = None  # an answer counts once
        except Reject:
            self._clock.refused += 1
        except OSError:
            self._close()

    def _close(self):
        if self._udp:
            self._poll.unregister(self._udp)
            self._udp.close()
            self._udp = None


def _registers(name):
    """Of the chip in os.uname().machine, as 'Generic ESP32S3 module with ESP32-S3'; another family's addresses mean nothing on it."""
    name = name.split("with ")[-1].replace("-", "")
    for chip, registers in _CHIPS:
        if name.startswith(chip):
            return registers
    if name == "ESP32":
        return _ESP32
    raise Halt("entropy-unknown-chip")


def _settings():
    with open("/config.json") as f:
        return json.load(f)


def _epoch_ms():
    return _FROM_1970_MS if time.gmtime(0)[0] == 2000 else 0


def _rtc_ms():
    return time.time_ns() // 1000000 + _epoch_ms()
