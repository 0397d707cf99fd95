"""Whether what members sign is theirs."""
from prosumer.codec import SIGNATURE_BYTES
from prosumer.errors import Reject
from prosumer.identity.ed25519 import PreparedKey


class Members:
    """Verifies what members sign, with a key table per neighbour made once and kept in flash (`folder`)."""

    def __init__(self, genesis, folder=None):
        """Without a folder the tables stay in memory, 3 KiB a member."""
        self.genesis = genesis
        self.operator = PreparedKey(genesis.operator, folder and folder + "operator")
        self.keys = [PreparedKey(m[0], folder and "%skey%d" % (folder, i)) for i, m in enumerate(genesis.members)]

    def check(self, member, message, signature):
        """Raises Reject('not-a-member'|'bad-signature')."""
        if not 0 <= member < self.genesis.n:
            raise Reject("not-a-member")
        if len(signature) != SIGNATURE_BYTES or not self.keys[member].verify(message, signature):
            raise Reject("bad-signature")

    def check_record(self, record):
        self.check(record.member, record.message(self.genesis.feeder_id), record.signature)

    def check_operator(self, record):
        if not self.operator.verify(record.message(self.genesis.feeder_id), record.signature):
            raise Reject("bad-operator-signature")

    def quorum(self):
        n = self.genesis.n
        return n - (n - 1) // 3

    def check_certificate(self, certificate, kind, message):
        """`message`: the bytes each member of the certificate signed."""
        if certificate.kind != kind or len(certificate.signatures) < self.quorum():
            raise Reject("no-quorum")
        for m in certificate.signatures:
            self.check(m, message, certificate.signatures[m])
