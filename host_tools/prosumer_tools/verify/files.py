"""What is beside the blocks: names of files, the recorder's list of sums, the rings from the meters' own flash."""
import hashlib
import re

from . import records
from .records import Malformed

BLOCK_NAME = re.compile(r"block-(\d{5,10})\.bin")
METER_NAME = re.compile(r"meter-(.+)\.bin")


class Files:
    """The part of the walk that sorts files and compares copies; see check._Walk for the rest."""

    def sort_files(self):
        """Which file is what, and the recorder's own list, which proves nothing but says what is not as it was written."""
        path = self.run / "records" / "MANIFEST"
        self.blocks, self.meters = {}, []
        for p in self.files:
            if BLOCK_NAME.fullmatch(p.name) and p.name == f"block-{int(p.name[6:-4]):05d}.bin":
                self.blocks[int(p.name[6:-4])] = p
            elif METER_NAME.fullmatch(p.name):
                self.meters.append(p)
            elif p != path:
                self.fault(p.name, "no such file belongs to a run")
        if path.is_file():
            self._manifest(path)

    def _manifest(self, path):
        listed = {}
        try:
            for i, line in enumerate(path.read_bytes().decode("ascii").split("\n")[:-1]):
                digest, name = line[:64], line[66:]
                if line[64:66] != "  " or name in listed or not re.fullmatch("[0-9a-f]{64}", digest):
                    self.fault("MANIFEST", f"line {i + 1} is not a sum and a name")
                listed[name] = digest
        except UnicodeDecodeError:
            self.fault("MANIFEST", "is not text")
            return
        if not path.read_bytes().endswith(b"\n"):
            self.fault("MANIFEST", "does not end with a line")
        there = {p.name: p for p in (*self.blocks.values(), *self.meters)}
        for name in sorted(set(listed) | set(there)):
            if name not in there:
                self.fault("MANIFEST", f"lists {name}, which is not there")
            elif name not in listed:
                self.fault("MANIFEST", f"does not list {name}")
            elif hashlib.sha256(there[name].read_bytes()).hexdigest() != listed[name]:
                self.fault("MANIFEST", f"{name} is not the file that was written (its sum differs)")

    def read_rings(self):
        """What the meters hold, read first: it tells which byte of a changed header is the changed one."""
        self.held = {}
        for path in self.meters:
            try:
                self.held[path] = records.ring(path.read_bytes())
            except Malformed as e:
                self.fault(f"ring of {METER_NAME.fullmatch(path.name)[1]}", str(e).replace("ring: ", ""))
            for h in self.held.get(path, ()):
                self.rings.setdefault(h.slot, {}).setdefault(h.raw, []).append(path)

    def compare_rings(self):
        """Each meter kept the same headers in its own flash, without a gap, up to its last one."""
        place = {slot: i for i, slot in enumerate(sorted(self.digests))}
        missing = {}
        for path, ring in self.held.items():
            name = METER_NAME.fullmatch(path.name)[1]
            self.counts["meters"] += 1
            last = None
            for i, h in enumerate(ring):
                where = f"ring of {name}: header {i + 1} (slot {h.slot})"
                if self.digests.get(h.slot) == h.hash(self.genesis.feeder_id):
                    if last is not None and place[h.slot] != last + 1:
                        self.fault(where, "does not follow the header before it")
                    last = place[h.slot]
                    self.counts["ring_headers"] += 1
                elif h.slot in self.blocks and h.slot not in self.digests:
                    last = None  # its file could not be read; that has been told
                elif h.slot in self.blocks or len(self.rings[h.slot][h.raw]) < min(2, len(self.held)):
                    self.fault(where, "is not the header that is final for this slot")
                    last = None if last is None else last + 1
                else:
                    missing.setdefault(h.slot, []).append(name)
                    last = None
        for slot, names in sorted(missing.items()):
            self.fault(f"block {slot}", f"its file is missing; {len(names)} meters hold its header")
