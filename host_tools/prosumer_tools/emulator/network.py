"""The network between meters and broker, in virtual time: it delays what the broker delivers, and cuts connections.

    network = Network(street, delay_ms=200)             # street: a running Supervisor
    port = await network.attach("birch")                # the device connects there in place of the broker
    network.cut("birch"); network.down("birch", "elm"); network.up("birch", "elm")

Each device has a port of its own, so that its connection is known. A message that the broker delivers at virtual time t reaches the
device at t + delay_ms, the whole way from meter to meter; with `cost_ms` receivers are occupied by it, one message after the
other. Confirmations (PUBACK) come at once, as the clock stands still while a device waits for one; on a real network the second of
two publishes leaves a round trip to the broker later, for which `delay_ms` may depend on the kind. The broker's messages are confirmed
here, since a broker sends only so many before the first is confirmed.
"""
import asyncio
import contextlib
import time

_PUBLISH, _PUBACK = 3, 4


class _Line:
    """One device's connection and what it has carried: `sent` and `received` count messages on feeder topics and their bytes, MQTT's included."""

    def __init__(self, name):
        self.name = name
        self.port = 0
        self.up = True
        self.generation = 0  # of the connection: what was held for an earlier one is lost
        self.writers = ()
        self.free_ms = 0     # the device has done with what was delivered so far
        self.sent_messages = self.sent_bytes = self.received_messages = self.received_bytes = 0


class Network:
    """`delay_ms`: a number or a function of the kind. `cost_ms(name, kind, topic, payload)`: virtual time the device is
    occupied by a message.
    `heard(name, kind, topic, payload)`: told of every message that a device publishes, at its virtual time.
    `drop(name, kind)`: whether a message to this device is lost on its way, as by a client that was away without noticing."""

    def __init__(self, street, delay_ms=0, cost_ms=None, heard=None, drop=None):
        self.street, self.cost_ms, self.heard = street, cost_ms, heard
        self.drop = drop or (lambda name, kind: False)
        self.delay_ms = delay_ms if callable(delay_ms) else lambda kind: delay_ms
        self.lines = {}
        self._servers = []
        street.network = self

    async def attach(self, name):
        """The port at which the device `name` finds the broker."""
        line = self.lines[name] = _Line(name)
        server = await asyncio.start_server(lambda r, w: self._connected(line, r, w), "127.0.0.1", 0)
        self._servers.append(server)
        line.port = server.sockets[0].getsockname()[1]
        return line.port

    def cut(self, *names):
        """End these connections now; what was under way to them is lost. The devices may connect again."""
        for name in names:
            line, clock = self.lines[name], self.street.clock
            line.generation += 1
            clock.held.pop(name, None)
            member = clock.members.get(name)
            if line.writers and member and member.holding and member.connected:  # time waits until it has seen that it is alone
                self.street.devices[name].busy_since = time.monotonic()
                clock.computes(name, time.monotonic())
            for writer in line.writers:
                writer.transport.abort()
            line.writers = ()

    def down(self, *names):
        """These devices reach nothing until `up`."""
        for name in names:
            self.lines[name].up = False
        self.cut(*names)

    def up(self, *names):
        for name in names:
            self.lines[name].up = True

    def stop(self):
        self.cut(*self.lines)
        for server in self._servers:
            server.close()

    # one connection

    async def _connected(self, line, reader, writer):
        if not line.up:
            writer.transport.abort()
            return
        self.cut(line.name)
        broker = self.street.broker
        try:
            from_broker, to_broker = await asyncio.open_connection(broker.host, broker.port)
        except OSError:
            writer.transport.abort()
            return
        line.writers, line.free_ms = (writer, to_broker), 0
        generation = line.generation
        ways = (self._from_device(line, reader, to_broker), self._from_broker(line, generation, from_broker, to_broker, writer))
        tasks = [asyncio.ensure_future(way) for way in ways]
        with contextlib.suppress(asyncio.CancelledError):  # the street is over
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for each in (writer, to_broker):
            each.transport.abort()
        if line.generation == generation:
            self.cut(line.name)

    async def _from_device(self, line, reader, to_broker):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, packet = await _packet(reader)
                if kind == _PUBLISH:
                    topic, payload = _parts(packet)
                    if _on_feeder(topic) or _fetched(topic):
                        line.sent_messages += 1
                        line.sent_bytes += len(packet)
                        if self.heard:
                            self.heard(line.name, topic.split("/")[-2], topic, payload)
                if kind != _PUBACK:
                    to_broker.write(packet)

    async def _from_broker(self, line, generation, from_broker, to_broker, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, packet = await _packet(from_broker)
                if kind != _PUBLISH:
                    writer.write(packet)
                    continue
                if packet[0] & 6:
                    to_broker.write(b"\x40\x02" + _packet_id(packet))
                topic, payload = _parts(packet)
                if _on_feeder(topic) or _fetched(topic):
                    line.received_messages += 1
                    line.received_bytes += len(packet)
                if not _on_feeder(topic):
                    writer.write(packet)
                    continue
                about = topic.split("/")[-2]
                if self.drop(line.name, about):
                    self.street.clock.hold(line.name, 1)  # for ever
                    continue
                due_ms = self.street.now_ms + self.delay_ms(about)
                if self.cost_ms:
                    due_ms = line.free_ms = max(due_ms, line.free_ms) + self.cost_ms(line.name, about, topic, payload)
                if due_ms <= self.street.now_ms:
                    writer.write(packet)
                    continue
                self.street.clock.hold(line.name, 1)
                self.street.at(due_ms, lambda packet=packet: self._deliver(line, generation, writer, packet))

    def _deliver(self, line, generation, writer, packet):
        if line.generation == generation:
            self.street.clock.hold(line.name, -1)
            writer.write(packet)


async def _packet(reader):
    """(type, bytes) of the next MQTT packet."""
    head = await reader.readexactly(2)
    size, shift = head[1] & 127, 7
    while head[-1] & 128:
        head += await reader.readexactly(1)
        size |= (head[-1] & 127) << shift
        shift += 7
    return head[0] >> 4, head + await reader.readexactly(size)


def _topic_at(packet):
    at = 1
    while packet[at] & 128:
        at += 1
    return at + 1


def _parts(packet):
    """(topic, payload) of a PUBLISH."""
    at = _topic_at(packet)
    end = at + 2 + int.from_bytes(packet[at:at + 2], "big")
    return packet[at + 2:end].decode(), packet[end + (2 if packet[0] & 6 else 0):]


def _packet_id(packet):
    at = _topic_at(packet)
    end = at + 2 + int.from_bytes(packet[at:at + 2], "big")
    return packet[end:end + 2]


def _fetched(topic):
    """What a meter asks the broker for; the clock stands still until it has come, as for a confirmation."""
    return topic.startswith("b/")


def _on_feeder(topic):
    """Topics that every meter subscribes to, and that the clock counts."""
    return topic.startswith("p/")
