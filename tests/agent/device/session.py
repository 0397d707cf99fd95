"""Runs on the meter: the MQTT session on a line that says what it likes."""
from prosumer.link import session
from prosumer.link.session import Session

COUNTS = {}


def count(event):
    COUNTS[event] = COUNTS.get(event, 0) + 1


class Line:
    """Stands for the connected socket: gives `incoming`, keeps what is written, confirms each publish if `confirms`."""

    def __init__(self, incoming=b""):
        self.incoming, self.written = incoming, b""

    def read(self, n):
        data, self.incoming = self.incoming[:n], self.incoming[n:]
        return data

    def readinto(self, view):
        data = self.read(len(view))
        view[:len(data)] = data
        return len(data)

    def write(self, data):
        self.written += data

    def close(self):
        pass


def packet(topic, message):
    """A PUBLISH with QoS 0."""
    size, head = 2 + len(topic) + len(message), b"\x30"
    while size > 127:
        head += bytes([size & 127 | 128])
        size >>= 7
    return head + bytes([size]) + len(topic).to_bytes(2, "big") + topic + message


def connected(incoming, buffer=1000):
    s = Session({"host": "nowhere", "port": 1}, b"test", [], bytearray(buffer), count)
    s.client = session.simple.MQTTClient(b"test", "nowhere", 1)
    s.client.set_callback(s.receive)
    s.client.sock = guarded = session._Guarded()
    guarded.raw = line = Line(incoming)
    guarded.readable = lambda: bool(line.incoming)
    return s, line


def all_of(s):
    out = []
    while True:
        got = s.next(0, 0)
        if not got:
            return out
        out.append((bytes(got[0]), bytes(got[1])))


def test_order_and_large_ones():
    messages = [(b"t", b"a" * 10), (b"u", b"b" * 900), (b"v", b"c" * 900), (b"w", b"")]
    s, _ = connected(b"".join([packet(*m) for m in messages]))
    assert all_of(s) == messages


def test_a_large_one_that_came_while_publishing_is_kept():
    first, second = (b"t", b"1" * 900), (b"t", b"2" * 900)
    s, line = connected(packet(*first) + b"\x40\x02\x00\x01" + packet(*second))
    assert s.publish(b"x", b"y")
    assert all_of(s) == [first, second]


def test_packet_numbers_stay_in_16_bits():
    s, line = connected(b"\x40\x02\x00\x01")
    s.client.pid = 65535
    assert s.publish(b"x", b"y") and s.connected()


def test_too_large_and_too_many_are_dropped_and_counted():
    COUNTS.clear()
    s, _ = connected(packet(b"t", bytes(9000)) + packet(b"t", b"ok"))
    assert all_of(s) == [(b"t", b"ok")] and COUNTS == {"oversized": 1}
    COUNTS.clear()
    s, _ = connected(packet(b"t", bytes(400)) * 40 + b"\x40\x02\x00\x01" + packet(b"t", b"ok"))
    s.publish(b"x", b"y")
    kept = all_of(s)
    assert kept[-1] == (b"t", b"ok") and 10 < len(kept) < 30 and COUNTS == {"flood": 41 - len(kept)}


def test_nonsense_ends_the_connection_and_nothing_else():
    for bad in (b"\x30\x01\x00\x05t", b"\x30\xff\xff\xff\x7f\x00\x01t", b"\x30", b"\xd0\x01"):
        s, _ = connected(bad)
        assert all_of(s) == [] and not s.connected()


for name in sorted([n for n in dir() if n.startswith("test_")]):
    globals()[name]()
    print("PASS", name)
