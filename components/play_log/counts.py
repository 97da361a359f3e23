"""What was read, and what became of it: counts that add up over workers, and the judgement over them."""

from __future__ import annotations

import dataclasses
import datetime
import json
import zoneinfo
from collections import Counter
from collections.abc import Iterable
from typing import Any

from components.play_log.errors import InputError
from components.settings import Data


@dataclasses.dataclass(frozen=True)
class Counts:
    """Counts of rows by what became of them.

    Attributes:
        rows_read: Rows of the play log.
        bad: Rows in quarantine, by reason.
        not_a_feed: Good rows of platforms that are not in ``data.feeds``.
        outside_window: Good rows outside the window read.
        duplicates: Repeated deliveries.
        plays: What is left.
        first_ms: Time of the earliest good row, feed or not, inside the window or not; None without good rows.
        last_ms: Time of the latest.
        first_bad: One place (file and row) for every reason, the first by name.
        side_table_bad: Rows of side tables in quarantine, by reason. They are not in ``rows_read``.
        examples: Examples by split.
        targets: Target plays by split.
    """

    rows_read: int = 0
    bad: dict[str, int] = dataclasses.field(default_factory=dict)
    not_a_feed: int = 0
    outside_window: int = 0
    duplicates: int = 0
    plays: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    first_bad: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    side_table_bad: dict[str, int] = dataclasses.field(default_factory=dict)
    examples: dict[str, int] = dataclasses.field(default_factory=dict)
    targets: dict[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def total(cls, parts: Iterable[Counts]) -> Counts:
        """The sum of ``parts``."""
        every = list(parts)

        def added(name: str) -> Any:
            return sum(getattr(p, name) for p in every)

        def merged(name: str) -> Any:
            sums: Counter[str] = Counter()
            for part in every:
                sums.update(getattr(part, name))
            return dict(sorted(sums.items()))

        places: dict[str, tuple[str, int]] = {}
        for part in every:
            for reason, place in part.first_bad.items():
                places[reason] = min(places.get(reason, place), place)
        return cls(
            **{n: added(n) for n in ("rows_read", "not_a_feed", "outside_window", "duplicates", "plays")},
            **{n: merged(n) for n in ("bad", "side_table_bad", "examples", "targets")},
            first_ms=min((p.first_ms for p in every if p.first_ms is not None), default=None),
            last_ms=max((p.last_ms for p in every if p.last_ms is not None), default=None),
            first_bad=dict(sorted(places.items())),
        )

    def to_json(self) -> str:
        """The counts as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Counts:
        """The counts that :meth:`to_json` wrote."""
        fields = json.loads(text)
        fields["first_bad"] = {reason: (file, row) for reason, (file, row) in fields["first_bad"].items()}
        return cls(**fields)

    def check_log(self, data: Data) -> None:
        """Refuses an empty log and one with too many bad rows.

        Raises:
            InputError: With the counts by reason.
        """
        bad = sum(self.bad.values())
        ends = self.plays + self.duplicates + bad + self.not_a_feed + self.outside_window
        if ends != self.rows_read:
            raise AssertionError(f"Rows were lost or invented: {self.rows_read} read, {ends} accounted for: {self}.")
        if not self.rows_read:
            raise InputError(f"The play log has no rows. data.plays.files is {data.plays.files}.")
        if bad > data.max_bad_row_fraction * self.rows_read:
            reasons = ", ".join(
                f"{n} {reason} (first in {self.first_bad[reason][0]}, row {self.first_bad[reason][1]})"
                for reason, n in sorted(self.bad.items(), key=lambda item: (-item[1], item[0]))
            )
            raise InputError(
                f"{bad} of {self.rows_read} rows of the play log are bad ({bad / self.rows_read:.2%}), more than "
                f"data.max_bad_row_fraction allows ({data.max_bad_row_fraction:.2%}): {reasons}. "
                "Correct data.plays.columns or the log, or raise data.max_bad_row_fraction."
            )

    def where_the_rows_are(self, data: Data) -> str:
        """For messages: what became of the good rows, and from when to when they go."""
        if self.first_ms is None or self.last_ms is None:
            return "It has no good row."
        first, last = (moment(t, data.time_zone) for t in (self.first_ms, self.last_ms))
        left_out = f", {self.not_a_feed} on platforms outside data.feeds {data.feeds}" if self.not_a_feed else ""
        return (
            f"Its good rows go from {first} to {last} ({data.time_zone}); {self.plays} plays were taken, "
            f"{self.outside_window} rows lie outside the window{left_out}."
        )


def moment(time_ms: int, time_zone: str) -> str:
    """A time as it is read in ``time_zone``, to the second."""
    try:
        when = datetime.datetime.fromtimestamp(time_ms / 1000, zoneinfo.ZoneInfo(time_zone))
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return when.strftime("%Y-%m-%d %H:%M:%S")
