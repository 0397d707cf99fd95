"""The agreement with exactly one rule broken, to show that the adversary's search would notice.

quorum    2f+1 votes instead of n - f: right only for n = 3f + 1
lock      votes without asking whether the parent is notarized and what lies between is dummy
finalize  finalizes an iteration after having voted its dummy
amnesia   forgets at a restart what it voted
late      votes for a block after its own dummy vote. This one is safe (the paper allows it): a control, nothing must be found
"""
from prosumer.ledger.simplex import Simplex
from prosumer.ledger.tally import faults


class Quorum(Simplex):
    def _quorum(self):
        return 2 * faults(self.n) + 1


class Lock(Simplex):
    def _parent_known(self, parent_h, parent_hash):
        return True


class Finalize(Simplex):
    def _may_finalize(self, h):
        return True


class Amnesia(Simplex):
    @classmethod
    def restore(cls, n, me, data):
        s = Simplex.restore.__func__(cls, n, me, data) if hasattr(Simplex.restore, "__func__") else super().restore(n, me, data)
        s.voted = None
        s.dummied = False
        s._rounds = {}
        return s


class Late(Simplex):
    def votable(self, h, parent_h, parent_hash):
        return h == self.iteration and not self.voted and self._parent_known(parent_h, parent_hash)


RULES = {"none": Simplex, "quorum": Quorum, "lock": Lock, "finalize": Finalize, "amnesia": Amnesia, "late": Late}
