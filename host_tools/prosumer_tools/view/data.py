"""What a run looks like to the view. Integers with the unit in the name; the view computes everything else from these."""
from dataclasses import dataclass, field


@dataclass
class HomeSlot:
    """One home in one slot, mWh. bought, sold: its trades. battery_mwh: into its battery (negative: out of it).

    `missing`: no signed reading arrived, the figures are settlement's estimate.
    """
    import_mwh: int = 0
    export_mwh: int = 0
    generation_mwh: int = 0
    bought_mwh: int = 0
    sold_mwh: int = 0
    battery_mwh: int = 0
    missing: bool = False

    @classmethod
    def alone(cls, energy):
        """From a baseline.SlotEnergy: the home without the market."""
        return cls(energy.import_mwh, energy.export_mwh, energy.generation_mwh, battery_mwh=energy.battery_mwh)

    @property
    def used_mwh(self):
        """What the home consumed: whatever came in, was made or came out of the battery, and was not given away."""
        return self.import_mwh - self.export_mwh + self.generation_mwh - self.battery_mwh


@dataclass
class SlotData:
    """One slot. homes: one HomeSlot per home, in the order of RunData.homes.

    start: ISO 8601, local. price_ucr_per_kwh: None when the slot was void (or nobody could agree on a price).
    feeder_*: net energy at the transformer, one of the two is 0. limit_*: the operator's envelope for the slot.
    """
    slot: int
    start: str
    price_ucr_per_kwh: int | None
    volume_mwh: int
    feeder_import_mwh: int
    feeder_export_mwh: int
    limit_import_mwh: int
    limit_export_mwh: int
    homes: list
    void: bool = False


@dataclass
class HomeData:
    """One home over the run. paid_*: what it paid in all, micro-credits; negative = it earned.

    balance_ucr: its balance on the ledger at the end. green_mwh: green coins it holds (one per mWh of metered renewable energy).
    alone: HomeSlot per slot of the same home without the market. battery_change_*: energy in the battery, end less start.
    """
    name: str
    kind: str = "house"
    pv_kwp: float = 0.0
    battery_kwh: float = 0.0
    ev: bool = False
    balance_ucr: int = 0
    green_mwh: int = 0
    paid_ucr: int = 0
    paid_alone_ucr: int = 0
    alone: list = field(default_factory=list)
    battery_change_mwh: int = 0
    battery_change_alone_mwh: int = 0


@dataclass
class WalkStep:
    """One real record at one stage. fields: [(name, value as text)]; raw: its bytes; signature bytes are part of raw."""
    stage: str
    explanation: str
    fields: list
    raw: bytes = b""


@dataclass
class Verdict:
    """Outcome of the independent check. counts: {what: how many}; faults: one line each."""
    ok: bool
    counts: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)


@dataclass
class Absence:
    """A meter that had no network, and came back. start, end: ISO 8601, local. blocks: final without it; bytes: asked and answered to
    catch up, over the run; proven: by certificates and consistency proofs, all of it."""
    home: str
    start: str
    end: str
    blocks: int
    bytes: int
    proven: bool = True


@dataclass
class Shown:
    """A receipt that was checked with the genesis alone. size: bytes; signatures: of that many voters."""
    home: str
    member: int
    slot: int
    start: str
    bought_mwh: int
    sold_mwh: int
    price_ucr_per_kwh: int
    size: int
    signatures: int
    voters: int


@dataclass
class Witness:
    """What an archive that followed the street kept and proved. blocks: final, each of them there."""
    blocks: int
    absences: list
    receipt: Shown


@dataclass
class Counters:
    """messages: {kind: count} sent by meters; rejects: {reason: count} refused by meters; bytes_sent over all meters."""
    messages: dict = field(default_factory=dict)
    rejects: dict = field(default_factory=dict)
    bytes_sent: int = 0


@dataclass
class RunData:
    street: str
    slot_minutes: int
    retail_ucr_per_kwh: int
    feed_in_ucr_per_kwh: int
    local_fee_ucr_per_kwh: int
    homes: list
    slots: list
    walk: list = field(default_factory=list)
    verdict: Verdict | None = None
    counters: Counters = field(default_factory=Counters)
    wall_s: float = 0.0
    note: str = ""        # where the profiles come from, one sentence
    witness: Witness | None = None
    files: list = field(default_factory=list)   # [(path relative to the report, what it is)] beside the ones written here
