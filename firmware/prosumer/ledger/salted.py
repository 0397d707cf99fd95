"""One random salt a block, from which every leaf gets its own: showing one leaf tells nothing about its siblings."""
from prosumer.codec import sha256
from prosumer.ledger import merkle

BODY, STATE = b"b", b"S"


def leaf_salt(salt, tree, i):
    """16 bytes; `tree`: BODY or STATE, so that the two trees of a block share none."""
    return sha256(salt, tree, i.to_bytes(2, "big"))[:merkle.SALT_SIZE]


def root(salt, tree, leaves):
    return merkle.root((merkle.hash_leaf(leaf_salt(salt, tree, i), leaf) for i, leaf in enumerate(leaves)))
