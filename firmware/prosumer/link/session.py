"""The MQTT session: umqtt.simple speaks the protocol, this file keeps it from ever hurting the meter.

umqtt.simple blocks, trusts lengths and has no time limits; it is given a socket that has all three
guards (`_Guarded`) and stays as published. Received messages are queued and handled by the agent's loop,
never from inside a publish.
"""
import select
import socket
import time

from micropython import const
from umqtt import simple

_TIMEOUT_S = const(10)
_CALL_MS = 30000   # real time for one call of umqtt.simple, which waits for its answer as long as anything else comes
_LARGE = const(512)
_ROOM = 6144       # bytes of messages that may wait while the agent computes, if the buffer is not larger; more is dropped and counted
_OVERHEAD = const(96)     # of a waiting message, in objects
_LAST_PID = const(60000)  # umqtt.simple counts its packets beyond 16 bits and would wait for ever for number 65536
_BACKOFF_MS = const((1000, 2000, 4000, 8000, 16000, 30000))


class _Guarded:
    """A stream with a time limit, whole reads only, one packet a write, and a maximum message size.

    A longer message, or one for which there is no room, is drained in pieces, counted, and handed up as None.
    """

    limit = 8192
    count = None  # function(event)
    held = 0      # bytes on the heap in messages that wait, at most
    room = _ROOM
    large = b""  # one large message (a block) at a time is read into this buffer and not into a heap in pieces
    lent = False

    def __init__(self):
        self.raw = socket.socket()
        self.out = b""
        self.blocking = True
        self.begin()

    def begin(self):
        self.deadline_ms = time.ticks_add(time.ticks_ms(), _CALL_MS)

    def connect(self, address):
        self.raw.settimeout(_TIMEOUT_S)
        self.raw.connect(address)
        self.poll = select.poll()
        self.poll.register(self.raw, select.POLLIN)

    def settimeout(self, seconds):
        pass  # umqtt.simple 1.8 sets its own; the limit is ours

    def setblocking(self, what):
        self.blocking = what

    def readable(self):
        return bool(self.poll.poll(0))

    def write(self, data, length=None):
        """umqtt.simple writes a packet in many small pieces; they leave together. `data` may be codec.Parts."""
        for piece in getattr(data, "pieces", (data,)):
            self.out += piece if length is None else piece[:length]
            if len(self.out) > 400:
                self.flush()

    def flush(self):
        data, self.out = self.out, b""
        if data:
            self.raw.write(data)

    def read(self, n):
        self.flush()
        if not self.blocking and not self.readable():
            return None
        if n < 0:
            raise OSError("packet too short")
        own = n > _LARGE and not _Guarded.lent and n <= len(_Guarded.large)
        if not own and (n > self.limit or n > _LARGE and _Guarded.held + n > _Guarded.room):
            _Guarded.count("oversized" if n > self.limit else "flood")
            while n:
                n -= len(self.take(min(n, 512)))
            return None
        if own:
            view = memoryview(_Guarded.large)[:n]
            if self.raw.readinto(view) != n:
                raise OSError("connection lost")
            _Guarded.lent = True
            return view
        return self.take(n)

    def take(self, n):
        if time.ticks_diff(self.deadline_ms, time.ticks_ms()) < 0:
            raise OSError("held up")
        data = self.raw.read(n)
        if n and (not data or len(data) != n):
            raise OSError("connection lost")
        return data

    def close(self):
        self.raw.close()


class _Sockets:
    """Stands where umqtt.simple looks for the socket module."""

    getaddrinfo = socket.getaddrinfo
    socket = _Guarded


simple.socket = _Sockets


class Session:
    """connect/reconnect with backoff, QoS 1 publish, bounded receive queue. Times are virtual or real Unix ms."""

    def __init__(self, broker, client_id, topics, buffer, count, will=None):
        """`broker`: dict with host, port, and optionally user, password, keepalive_s. `will`: (topic, message).

        `buffer`: lent to one large message at a time, from its arrival until `next` is called after it was taken; between a
        `next` that returned None and the next publish it is free for other uses. `count(event)`: told of what was not taken.
        """
        _Guarded.large, _Guarded.count, self.count = buffer, count, count
        self.broker, self.client_id, self.topics, self.will = broker, client_id, topics, will
        self.client = None
        self.queue = []
        self.viewed = False  # the message taken last lies in the buffer
        _Guarded.room = max(_ROOM, len(buffer))
        self.published = self.received = self.tries = 0  # published: by the agent, feeder topics only
        self.retry_ms = self.sent_ms = 0

    @property
    def sock(self):
        return self.client.sock.raw if self.client else None

    @property
    def unacked(self):
        return 0  # publish() returns after the broker's PUBACK

    def connected(self):
        return self.client is not None

    def step(self, now_ms, jitter_ms):
        """Connect when it is time to; True if a new connection stands. `jitter_ms`: random, spreads a street's meters."""
        if self.client:
            keepalive = self.client.keepalive
            if keepalive and now_ms - self.sent_ms > keepalive * 500:
                self.sent_ms = now_ms
                self._guard(self.client.ping)
            return False
        if now_ms < self.retry_ms:
            return False
        b = self.broker
        client = simple.MQTTClient(self.client_id, b["host"], b["port"], b.get("user"), b.get("password"),
                                   b.get("keepalive_s", 0))
        client.set_callback(self.receive)
        if self.will:
            client.set_last_will(self.will[0], self.will[1], retain=True)
        self.client = client
        try:
            client.connect()
            for topic in self.topics:
                client.subscribe(topic, 1)
        except (OSError, AssertionError, IndexError, TypeError, simple.MQTTException):
            self.lost(now_ms, jitter_ms)
            return False
        self.tries = 0
        self.sent_ms = now_ms
        return True

    def lost(self, now_ms, jitter_ms=0):
        if self.client:
            try:
                self.client.sock.close()
            except (OSError, AttributeError):
                pass  # there was no socket left, or no name server to ask
        self.client = None
        self.retry_ms = now_ms + _BACKOFF_MS[min(self.tries, 5)] + jitter_ms
        self.tries += 1

    def receive(self, topic, message):
        if topic is None or topic[:2] == b"p/":
            self.received += 1  # what the owner asks is not counted: no neighbour said so
        if topic is None or message is None:
            return  # counted already
        if _Guarded.held > _Guarded.room:
            self.count("flood")
            return
        self.queue.append((topic, message))
        _Guarded.held += self._weight(topic, message)

    @staticmethod
    def _weight(topic, message):
        return len(topic) + _OVERHEAD + (len(message) if type(message) is bytes else 0)  # else it lies in the buffer

    def _guard(self, call, *args):
        """Run one umqtt call; whatever a broken peer provokes ends in a lost connection, not in a stopped meter."""
        try:
            self.client.sock.begin()
            call(*args)
            self.client.sock.flush()
            return True
        except (OSError, AssertionError, IndexError, TypeError, MemoryError, simple.MQTTException):
            self.broken = True
            return False

    broken = False

    def publish(self, topic, message, retain=False, qos=1):
        """False when there is no connection: the caller's state is what is announced again later."""
        if not self.client or self.broken:
            return False
        if self.client.pid > _LAST_PID:
            self.client.pid = 0
        return self._guard(self.client.publish, topic, message, retain, qos)

    def fetch(self, topic):
        """What the broker retains under `topic` is among the next messages."""
        if self.client and not self.broken:
            self._guard(self._fetch, topic)

    def _fetch(self, topic):
        client = self.client
        try:
            client.subscribe(topic)
        except simple.MQTTException:
            return self.count("fetch-refused")  # by the broker's access list
        client.pid += 1
        client.sock.write(b"\xa2" + bytes((len(topic) + 4,)) + (client.pid & 0xffff).to_bytes(2, "big") + len(topic).to_bytes(2, "big") + topic)
        while client.wait_msg() != 0xb0:  # UNSUBACK: behind what was retained
            pass
        client.sock.read(3)

    def drop(self):
        """Forget what is queued."""
        for _ in self.queue:
            self.count("flood")
        self.queue, self.viewed, _Guarded.lent, _Guarded.held = [], False, False, 0

    def next(self, now_ms, jitter_ms):
        """Take the next message as (topic, message); None when nothing is left. The one before it is done with."""
        if self.viewed:
            self.viewed = _Guarded.lent = False
        while not self.queue and self.client and not self.broken and self.client.sock.readable():
            self._guard(self.client.check_msg)
        if self.broken:
            self.broken = False
            self.lost(now_ms, jitter_ms)
        if not self.queue:
            return None
        topic, message = self.queue.pop(0)
        _Guarded.held -= self._weight(topic, message)
        self.viewed = type(message) is not bytes
        return topic, message
