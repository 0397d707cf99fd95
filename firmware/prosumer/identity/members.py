"""Who votes under the rules in force, and whether what members sign is theirs.

A *regime* (44 bytes in every state: epoch:4 ‖ excluded:8 ‖ hash of the genesis in force:32) says who votes. It changes only with
a final block: by an amended genesis, by proof that a member lied, and in streets of more than 40 voters when their
committee's turn is over. A committee is the 40 lowest of SHA-256(genesis hash ‖ epoch ‖ member): known to all beforehand, and
steered by no proposer. Assumed: at most a third of the voters lie, and above 40 members at most 13 of all (decision 16). Votes are signed under the regime, so
those of two regimes never mix.
"""
import struct

from prosumer.codec import SIGNATURE_BYTES, sha256
from prosumer.errors import Reject
from prosumer.identity.ed25519 import PreparedKey
from prosumer.ledger.tally import leader, quorum
from prosumer.records import COMMITTEE, ROLE_LEFT, vote_message



def electorate(genesis, regime):
    """The members that vote, rising."""
    epoch, excluded = struct.unpack_from(">IQ", regime)
    able = [m for m in range(genesis.n) if not (genesis.members[m][1] & ROLE_LEFT or excluded >> m & 1)]
    if len(able) > COMMITTEE:
        able.sort(key=lambda m: sha256(genesis.hash, struct.pack(">IB", epoch, m)))
    return sorted(able[:COMMITTEE])


class Members:
    """Verifies what members sign, with a key table per neighbour made once and kept in flash (`folder`)."""

    def __init__(self, genesis, folder=None):
        """Without a folder the tables stay in memory, 3 KiB a member."""
        self.genesis, self.folder = genesis, folder
        self.operator = PreparedKey(genesis.operator, folder and folder + "operator")
        self.keys = [PreparedKey(m[0], folder and "%skey%d" % (folder, i)) for i, m in enumerate(genesis.members)]
        self.enter(bytes(12) + genesis.hash)

    def enter(self, regime):
        """`regime` begins; everyone knows who votes in it."""
        self.regime = regime
        self.voters = electorate(self.genesis, regime)
        self.domain = sha256(self.genesis.feeder_id, regime)[:8]

    def leader(self, iteration):
        """The member whose turn it is to propose."""
        return self.voters[leader(iteration, len(self.voters))]

    def quorum(self):
        return quorum(len(self.voters))

    def check(self, member, message, signature):
        """Raises Reject('not-a-member'|'bad-signature')."""
        if not 0 <= member < len(self.keys):
            raise Reject("not-a-member")
        if len(signature) != SIGNATURE_BYTES or not self.keys[member].verify(message, signature):
            raise Reject("bad-signature")

    def check_record(self, record):
        self.check(record.member, record.message(self.genesis.feeder_id), record.signature)

    def check_vote(self, vote):
        """Raises Reject('not-a-voter'|'bad-signature')."""
        if vote.member not in self.voters:
            raise Reject("not-a-voter")
        self.check(vote.member, vote.message(self.domain), vote.signature)

    def check_operator(self, record):
        if not self.operator.verify(record.message(self.genesis.feeder_id), record.signature):
            raise Reject("bad-operator-signature")

    def check_certificate(self, c, kind):
        """Raises Reject('no-quorum'|'not-a-voter'|'bad-signature')."""
        signatures = c.signatures
        if c.kind != kind or len(signatures) < self.quorum():
            raise Reject("no-quorum")
        message = vote_message(self.domain, kind, c.iteration, c.header_hash)
        for m in signatures:
            if m not in self.voters:
                raise Reject("not-a-voter")
            self.check(m, message, signatures[m])
