"""The actions of `prosumer archive` that bring blocks in: import, repair, follow; and serve, which is a part of follow."""
import os
import sys
import threading

from prosumer_tools.archive import format
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.check import check
from prosumer_tools.archive.database import Database, DatabaseError
from prosumer_tools.archive.fill import Peer, fill, reason, wait_behind
from prosumer_tools.archive.http import Server
from prosumer_tools.archive.repair import repair
from prosumer_tools.archive.sources import Url, failures, opened
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands import broker
from prosumer_tools.feederkeys import FeederKeys


class Fault(Exception):
    """Said already; exit code 1."""


def tokens(given):
    return given or os.environ.get("PROSUMER_TOKEN", "").split()


def bring(args):
    """`import`: each feeder from all the sources that have it. Refused when a source was at fault and no other made it good."""
    sources = [opened(place, tokens(args.token)) for place in args.sources]
    archive, faults, joined = Archive(Database(args.db)), [], {source.name: 0 for source in sources}
    wanted = {}  # feeder → sources
    for source in sources:
        try:
            for feeder in source.feeders():
                if _enrolled(archive, source, feeder, args.feeder):
                    wanted.setdefault(feeder, []).append(source)
        except failures() as error:
            faults.append(f"{source.name}: {reason(None, error)}")
    if not wanted and not faults:
        raise Refused(f"nothing could be brought in{f' of a feeder {args.feeder!r}' if args.feeder else ''}")
    for feeder, its in wanted.items():
        filled = fill(archive, feeder, its)
        wait_behind(archive, feeder, its, filled)
        for name, blocks in filled.joined.items():
            joined[name] += blocks
        left = filled.unmended(archive.chain(feeder).slot)
        for name, (_, why) in filled.faults.items():
            if (name, why) not in left:
                print(f"{name}: {why}; another source had it")
        faults += [f"{name}: {why}" for name, why in left]
    for name, blocks in joined.items():
        print(f"{name}: {blocks} blocks joined the archive")
    say_gaps(archive)
    if faults:
        raise Refused("\n  ".join(faults))


def _enrolled(archive, source, feeder, asked):
    """Whether its blocks are to be brought from there; Refused, Malformed."""
    record = source.genesis(feeder)
    genesis = format.genesis_of(record)
    if genesis.feeder_id != feeder:
        raise Refused(f"the genesis of feeder {feeder.hex()} is another feeder's")
    if asked and genesis.name != asked and not feeder.hex().startswith(asked.lower()):
        return False
    if not source.opens(feeder):
        print(f"{source.name}: no token given opens {genesis.name} ({feeder.hex()}); it is skipped")
        return False
    return archive.enrol(record) == feeder


def mend(args):
    """`repair`: and then the whole check."""
    archive = Archive(Database(args.db, False))
    known = {feeder: name for feeder, name in archive.feeders()}
    chosen = [f for f in archive.known() if not args.feeder or f.hex().startswith(args.feeder.lower()) or known.get(f) == args.feeder]
    if not chosen:
        print("the archive has no such feeder" if args.feeder else "the archive has no feeders: `import` brings them in")
        raise Fault
    sources, bad = [opened(place, tokens(args.token)) for place in args.sources], False
    for feeder in chosen:
        print(f"{feeder.hex()}: {repair(archive, feeder, sources, tell, progress())} blocks mended")
        result = check(archive, feeder, progress=progress())
        say(feeder, result)
        bad = bad or not result.ok
    if bad:
        raise Fault


def say(feeder, result):
    """What `check` found."""
    for line in result.faults:
        print(line)
    more = f" and {result.more} more" if result.more else ""
    verdict = "all holds" if result.ok else f"{len(result.faults)}{more} faults"
    print(f"{feeder.hex()}: {result.blocks} blocks, {result.certificates} certificates, {result.signatures} signatures: {verdict}")


def say_gaps(archive):
    for feeder, name in archive.feeders():
        slot, waiting = archive.gap(feeder)
        if waiting:
            print(f"{name}: {len(waiting)} blocks from slot {waiting[0]} on wait for one that is missing after slot {slot};"
                  " import it from a run or another archive")


def progress():
    """For a person at a terminal."""
    def show(done, of):
        print(f"  block {done} of {of}", end="\r" if done < of else "\r" + " " * 40 + "\r", file=sys.stderr, flush=True)
    return show if sys.stderr.isatty() else lambda done, of: None


def follow(args):
    from prosumer_tools.archive.listen import Listener
    archive = Archive(Database(args.db))
    for path in args.genesis:
        archive.enrol(path.read_bytes())
    if not archive.feeders():
        raise Refused("the archive has no feeder yet: give --genesis FILE")
    def keys():
        return {k.feeder_id: k for k in map(FeederKeys.load, args.keys)}
    keys()  # what is wrong with a file is told now
    host, port, user, password, tls = broker.named(args)
    peers = [Url(url.rstrip("/"), tokens(args.peer_token)) for url in args.peer]
    server = _server(archive, args.http) if args.http else None
    listener = Listener(archive, host, port, user, password, args.client_id, tell, keys, tls).start()
    peer = Peer(archive, peers, tell).start() if peers else None
    try:
        listener.ended.wait()
        raise DatabaseError(f"nothing more is taken: {listener.failure}")
    finally:
        if peer:
            peer.stop()
        listener.stop()
        if server:
            server.shutdown()


def serve(args):
    server = _server(Archive(Database(args.db, False)), args.http)
    try:
        threading.Event().wait()
    finally:
        server.shutdown()


def _server(archive, address):
    server = Server(archive, *broker.address(address, 8046)).start()
    tell(f"answering at {server.url}")
    return server


def tell(text):
    print(text, flush=True)
