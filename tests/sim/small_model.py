"""Every reachable state of a small street: n members, one of them a liar, iterations 1..last; the firmware's own core.

    python tests/sim/small_model.py [--n 4] [--last 2] [--liar 1] [--break RULE] [--limit STATES] [--json]

What the network can do is subsumed: everything ever signed can reach anyone at any later time, once, never or often. A
member's state changes by quorums alone, so certificates are what arrives (any that the signatures of honest members
and the liar's make possible), besides proposals, timeouts, its own turn and restarts: each step begins with
`restore(snapshot)`. What a member need not know yet it learns when it matters (with a proposal, or before its own): later
is always possible. The liar signs everything and, where it leads, proposes two blocks on every certifiable parent.

A state is, for each honest member, its snapshot and all it has signed; members that lead no iteration are interchangeable.
After each finalize: can the signatures make two final blocks, neither an ancestor of the other? That includes blocks
whose certificate nobody has put together yet (so members need not learn of finality here: it only forbids). Exits 1 if so.
"""
import json
import sys
import time
from itertools import combinations
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "shim"), str(HERE.parents[1] / "firmware"), str(HERE)]

from broken import RULES  # noqa: E402
from prosumer.ledger.simplex import DUMMY, leader  # noqa: E402

GENESIS = b"G" + bytes(31)


def block(parent, h, variant):
    """A block's name spells its chain: G, then (iteration, variant) of each block."""
    return (parent.rstrip(b"\0") + bytes((h, variant + 1))).ljust(32, b"\0")


def parent_of(name):
    chain = name.rstrip(b"\0")[:-2]
    return (chain[-2] if len(chain) > 1 else 0), chain.ljust(32, b"\0")


def iteration_of(name):
    return name.rstrip(b"\0")[-2]


def compatible(a, b):
    a, b = a.rstrip(b"\0"), b.rstrip(b"\0")
    return a.startswith(b) or b.startswith(a)


class Model:
    def __init__(self, n, last, liar, rule):
        self.n, self.last, self.liar = n, last, liar
        self.make = RULES[rule]
        self.honest = [i for i in range(n) if i != liar]
        first = self.make(n, self.honest[0], 0, GENESIS)
        need = first._quorum() - 1  # the liar signs too
        self.choices = list(combinations(range(n - 1), need))
        leaders = {leader(h, n) for h in range(1, last + 1)}
        self.plain = [k for k, i in enumerate(self.honest) if i not in leaders]
        self.statements, self.numbers = [], {}  # (kind, h, hash) and its bit
        self.snapshots, self.ids = [], {}
        self.memo = {}
        self.options = {}
        self.start = ((self.intern(first.snapshot()), 0),) * (n - 1)

    def intern(self, snapshot):
        if snapshot not in self.ids:
            self.ids[snapshot] = len(self.snapshots)
            self.snapshots.append(snapshot)
        return self.ids[snapshot]

    def bit(self, statement):
        if statement not in self.numbers:
            self.numbers[statement] = len(self.statements)
            self.statements.append(statement)
        return 1 << self.numbers[statement]

    def canonical(self, state):
        if len(self.plain) > 1:
            for k, member in zip(self.plain, sorted(state[k] for k in self.plain)):
                state[k] = member
        return tuple(state)

    def certifiable(self, state):
        """Bits of the statements for which a certificate can be made."""
        bits = 0
        for choice in self.choices:
            both = -1
            for k in choice:
                both &= state[k][1]
            bits |= both
        return bits

    def listed(self, bits):
        return [s for i, s in enumerate(self.statements) if bits >> i & 1]

    def proposals(self, h, certificates, proposed):
        lead = leader(h, self.n)
        if lead != self.liar:
            votes = [x for kind, g, x in self.listed(proposed) if kind == "vote" and g == h and x != DUMMY]
            return [x for x in votes if iteration_of(x) == h]
        parents = [GENESIS] + [x for kind, g, x in certificates if kind == "vote" and g < h and x != DUMMY]
        return [block(p, h, v) for p in parents for v in (0, 1)]

    def acts(self, i, snapshot, bits, proposed):
        """All that can happen to member i next, as tuples of calls; `proposed`: what the leader of its iteration signed."""
        key = (i, snapshot, bits, proposed)
        if key in self.options:
            return self.options[key]
        core = self.make.restore(self.n, i, self.snapshots[snapshot])
        h = core.iteration
        found = []
        if h <= self.last:
            votes = [(g, x) for kind, g, x in self.listed(bits) if kind == "vote"]
            early = tuple(("adopt_notarized", g, x) for g, x in votes if g < h)
            found.append((("on_timeout", h),))
            for x in self.proposals(h, self.listed(bits), proposed):
                parent = parent_of(x)
                behind = tuple(c for c in early if c[1:] == parent or (c[1] > parent[0] and c[2] == DUMMY))
                found.append(behind + (("on_proposal", h, x) + parent,))
            if leader(h, self.n) == i:
                for late in ((),) + tuple((c,) for c in early if c[2] != DUMMY and c[1] > core.tip[0]):
                    found.append(late + (("propose",),))
            found += [(("adopt_notarized", g, x),) for g, x in votes if g == h or (g > h and x != DUMMY)]
        results = []
        for calls in found:
            after = self.step(i, snapshot, calls)
            if after and after not in results:
                results.append(after)
        self.options[key] = results
        return results

    def step(self, i, snapshot, calls):
        """(snapshot, bits signed) after these calls; None if nothing was said and no iteration entered."""
        key = (i, snapshot, calls)
        if key not in self.memo:
            core = self.make.restore(self.n, i, self.snapshots[snapshot])
            actions = []
            for name, *args in calls:
                if name == "propose":
                    parent = core.propose_parent()
                    if parent:
                        actions += core.on_proposal(core.iteration, block(parent[1], core.iteration, 0), *parent)
                else:
                    actions += getattr(core, name)(*args)
            said = 0
            for a in actions:
                if a[0] in ("vote", "finalize"):
                    said |= self.bit(a[:3])
            self.memo[key] = (self.intern(core.snapshot()), said) if actions else None
        return self.memo[key]

    def search(self, limit):
        """(states, found, complete): found is None or the two names of conflicting final blocks."""
        seen = {self.start}
        todo = [self.start]
        place = {i: k for k, i in enumerate(self.honest)}
        while todo and len(seen) < limit:
            state = todo.pop()
            bits = self.certifiable(state)
            for k, i in enumerate(self.honest):
                snapshot, signed = state[k]
                h = int.from_bytes(self.snapshots[snapshot][1:5], "big")
                proposed = state[place[leader(h, self.n)]][1] if leader(h, self.n) in place else 0
                for snapshot_after, said in self.acts(i, snapshot, bits, proposed):
                    after = list(state)
                    after[k] = (snapshot_after, signed | said)
                    after = self.canonical(after)
                    if after in seen:
                        continue
                    seen.add(after)
                    todo.append(after)
                    if said:
                        finals = [x for kind, _, x in self.listed(self.certifiable(after)) if kind == "finalize"]
                        for a, b in combinations(finals, 2):
                            if not compatible(a, b):
                                return len(seen), (a.rstrip(b"\0").hex(), b.rstrip(b"\0").hex()), False
        return len(seen), None, not todo


def main(args):
    options = {"--n": "4", "--last": "2", "--liar": "1", "--break": "none", "--limit": "100000000"}
    as_json = "--json" in args
    args = [a for a in args if a != "--json"]
    options.update(zip(args[::2], args[1::2], strict=True))
    start = time.time()
    model = Model(int(options["--n"]), int(options["--last"]), int(options["--liar"]), options["--break"])
    states, found, complete = model.search(int(options["--limit"]))
    result = {k[2:]: v for k, v in options.items()} | {"states": states, "found": found, "complete": complete,
                                                       "seconds": round(time.time() - start, 1)}
    print(json.dumps(result) if as_json else " ".join(f"{k}={v}" for k, v in result.items()))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
