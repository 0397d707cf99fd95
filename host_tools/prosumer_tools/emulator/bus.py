"""The bus of an emulated chip: what crosses file descriptor 3 between a device and the supervisor.

The bus stands for the chip's pins and its clock. It is one end of an `AF_UNIX SOCK_SEQPACKET` pair, so one write is one packet and
one read takes exactly one. The first byte names the packet; numbers are big-endian; a question (upper case) is answered by the
same letter in lower case. Packets to the device are padded to 32 bytes, because a MicroPython file reads until its buffer is full.

    device → host
    H                                                     hello: the agent's hal starts; answered by h
    W deadline_ms u64, published u32, received u32,       idle until virtual time reaches the deadline or MQTT data comes.
      unacked u16, connected u8                           Counters as `clock.Member` uses them
    B                                                     busy: left that wait because MQTT data came; answered by b. (The sender of
                                                          that data may have been told the new time before this device.)
    S                                                     one sample window, please; answered by s and, if frames > 0, one packet of samples
    A name u8, power_mw i32                               set actuator `ACTUATORS[name]`
    P                                                     state of the plant; answered by p
    U                                                     up: a program is about to run; a Ctrl-C reaches it from now on
    Q                                                     no program runs any more: the chip sits in its REPL
    R                                                     machine.reset(): the host pulls the power and gives it back
    C                                                     a Ctrl-C broke the process: the host boots it again and sends another
    X                                                     the planned power cut (`CHIP_CUT`): the host pulls the power

    host → device
    t now_ms u64, b now_ms u64                            virtual time moved on (only to devices that hold the clock, or that ask)
    h now_ms u64, rate_hz u32, frames_max u16,            the sampling front end: one window of at most frames_max frames
      window_ms u32, channels u8                          every window_ms
    s frames u16, covers_ms u32                           then `frames × channels` int16 in the machine's own order, as a DMA writes them
    p battery_soc_mwh u32, battery_capacity_mwh u32,
      ev_plugged u8, ev_need_mwh u32, ev_deadline_s u32, relay u8
"""
import socket
import struct

PACKET_BYTES = 32
ACTUATORS = ("relay", "battery", "ev", "pv")  # the same order stands in firmware/prosumer/hal/unix.py

HELLO, WAIT, BUSY, SAMPLE, ACTUATE, PLANT, UP, REPL, RESET, BROKEN, CUT = (ord(c) for c in "HWBSAPUQRCX")

_WAIT = struct.Struct(">BQIIHB")
_ACTUATE = struct.Struct(">BBi")
_PLANT = ">cIIBIIB"
_BUFFER_BYTES = 1 << 20  # a window of samples and its answer fit whole, so the host never blocks on a device


def pair():
    """Return (host end, device end); the host end does not block."""
    host, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    host.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    host.setblocking(False)
    return host, device


def parse_wait(packet):
    """Return (deadline_ms, published, received, unacked, connected)."""
    return _WAIT.unpack(packet)[1:]


def parse_actuate(packet):
    """Return (name_id, power_mw)."""
    return _ACTUATE.unpack(packet)[1:]


def time(now_ms):
    return _padded(">cQ", b"t", now_ms)


def time_for_busy(now_ms):
    return _padded(">cQ", b"b", now_ms)


def hello(now_ms, front_end):
    return _padded(">cQIHIB", b"h", now_ms, front_end.rate_hz, front_end.frames_max, front_end.window_ms, front_end.channels)


def window(frames, covers_ms):
    return _padded(">cHI", b"s", frames, covers_ms)


def plant(state):
    return _padded(_PLANT, b"p", *state)


def _padded(layout, *values):
    return struct.pack(layout, *values).ljust(PACKET_BYTES, b"\0")
