"""A NOR flash in RAM for VfsLfs2, which loses power in the middle of any chosen write or erase."""
BLOCK = 512


class Flash:
    """`cut`: the write or erase (1, 2, …) in the middle of which power fails; from then on every operation is an error."""

    def __init__(self, blocks=64, data=None, cut=0):
        self.data = bytearray(data) if data else bytearray(b"\xff" * (blocks * BLOCK))
        self.cut = cut
        self.dead = False
        self.operations = 0
        self.erases = 0

    def _size(self, size):
        """How much of an operation happens."""
        self.operations += 1
        if self.operations == self.cut:
            self.dead = True
            return size // 2
        return size

    def readblocks(self, block, buffer, offset=0):
        if self.dead:
            return -5
        at = block * BLOCK + offset
        buffer[:] = memoryview(self.data)[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        if self.dead:
            return -5
        at = block * BLOCK + offset
        for i in range(self._size(len(buffer))):
            self.data[at + i] &= buffer[i]  # NOR: a write clears bits only
        return -5 if self.dead else 0

    def ioctl(self, op, arg):
        if op == 4:
            return len(self.data) // BLOCK
        if op == 5:
            return BLOCK
        if op == 6:
            if self.dead:
                return -5
            self.erases += 1
            size = self._size(BLOCK)
            self.data[arg * BLOCK : arg * BLOCK + size] = b"\xff" * size
            return -5 if self.dead else 0
        return 0
