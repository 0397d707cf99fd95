"""The socket that umqtt.simple is given, against a real peer that is hostile: it must never hold the meter for long."""
import _thread
import socket
import sys
import time


class _Umqtt:
    """Only its place is needed here: the session puts its own socket into the module."""

    class simple:
        pass


sys.modules["umqtt"] = _Umqtt
from prosumer.link.session import Session, _Guarded  # noqa: E402
del sys.modules["umqtt"]

counts = {}


def count(event):
    counts[event] = counts.get(event, 0) + 1


def guarded(talk, port=[21830]):
    """A guarded socket whose peer runs `talk(connection)`."""
    port[0] += 1
    address = socket.getaddrinfo("127.0.0.1", port[0])[0][-1]
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    listening.listen(1)

    def serve():
        connection = listening.accept()[0]
        try:
            talk(connection)
        except OSError:
            pass
        connection.close()
        listening.close()

    _thread.start_new_thread(serve, ())
    _Guarded.count, _Guarded.held, _Guarded.lent = count, 0, False
    sock = _Guarded()
    sock.connect(address)
    return sock


def test_a_block_of_a_large_street_is_taken_into_the_buffer():
    """With 40 members a block has 14 kB; the buffer is made for it."""
    _Guarded.large = bytearray(1024 + 448 * 40)
    sock = guarded(lambda c: c.write(b"x" * 14000))
    message = sock.read(14000)
    assert message is not None and len(message) == 14000 and bytes(message[-1:]) == b"x"
    sock.close()


def test_what_is_larger_than_buffer_and_limit_is_drained_and_counted():
    _Guarded.large = bytearray(1000)
    counts.clear()
    sock = guarded(lambda c: c.write(b"x" * 9000 + b"next"))
    assert sock.read(9000) is None and counts == {"oversized": 1}
    assert sock.read(4) == b"next"
    sock.close()


def test_a_peer_that_talks_for_ever_and_confirms_nothing_is_left():
    """A publish waits for its PUBACK; ping answers without end must not make it wait for ever."""
    def talk(connection):
        while True:
            connection.write(b"\xd0\x00")
            time.sleep_ms(5)

    sock = guarded(talk)
    sock.deadline_ms = time.ticks_add(time.ticks_ms(), 200)
    began = time.ticks_ms()
    try:
        while time.ticks_diff(time.ticks_ms(), began) < 2000:
            sock.read(1)
        raise RuntimeError("held for ever")
    except OSError:
        pass
    sock.close()


def test_a_connection_that_was_refused_is_closed():
    class Client:
        """As umqtt.simple's, whose broker answers no."""

        def __init__(self, *_):
            self.sock = self

        def set_callback(self, f):
            pass

        def connect(self):
            raise OSError(111)

        def close(self):
            closed.append(1)

    closed = []
    _Umqtt.simple.MQTTClient, _Umqtt.simple.MQTTException = Client, ValueError
    session = Session({"host": "x", "port": 1}, b"me", [], bytearray(10), count)
    assert not session.step(0, 0) and not session.connected()
    assert closed == [1]
