"""Watch times of videos as counts that merge: exact ones, and sketches of the few videos that need them. Pure.

The plays of a hot video may be a third of the log, so they never come together: each bucket of users counts its own,
and the counts are merged. Watch times are whole milliseconds, so the counts by (video, watch time) merge exactly and
never outgrow the number of different watch times, however hot the video is: a video of 20 seconds has some 20,000. Only
a long video with very many plays has so many that counts are no summary any more. Where one bucket of users alone has
more than ``quantiles.exact_up_to`` different watch times on a video, its counts become a
``tfx_bsl.sketches.QuantilesSketch``.

What a sketch holds depends on the order of its input, so that order is fixed: counts go in by watch time, and sketches
are merged by the number of their user bucket, at the very end. So equal plays make equal quantiles wherever they were
read; only ``num_buckets`` can change an approximate quantile, and never by more than its error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.sketches import QuantilesSketch

from components.play_log.batches import Ints, concat, ints, split_by_bucket
from components.play_log.columns import TEXT
from components.settings import Quantiles
from components.watch_time_quantiles import quantiles

#: Counts by video and watch time, each pair once, and what is known of a video in the end.
COUNTS = pa.schema([("video_id", TEXT), ("watch_ms", pa.int64()), ("count", pa.int64())])
VIDEOS = pa.schema(
    [("video_id", TEXT), *((name, pa.int64()) for name in ("q50_ms", "q60_ms", "plays")), ("rank_error", pa.float64())]
)

#: A bound on the number of values put into one sketch; it is taken for the size of its levels.
_MAX_VALUES = 1 << 32

#: 10 steps from the smallest to the largest value: the places of Q50 and Q60 are whole.
_STEPS = 10
_PLACES = [_STEPS * over // under for over, under in quantiles.QUANTILES]


class Sketch(NamedTuple):
    """The plays on a video of one bucket of users: the bucket's number, how many, and their watch times."""

    user_bucket: int
    plays: int
    watch_ms: QuantilesSketch


class Partial(NamedTuple):
    """Some plays on some videos: :data:`COUNTS`, and the sketches of videos that outgrew them (maybe not all their
    plays: other buckets of users may have few on the same video)."""

    counts: pa.RecordBatch
    sketches: dict[str, list[Sketch]]


def nothing() -> Partial:
    """No plays."""
    return Partial(pa.RecordBatch.from_pylist([], COUNTS), {})


def of_plays(
    user_bucket: int, plays: pa.RecordBatch, settings: Quantiles, num_buckets: int
) -> Iterator[tuple[int, Partial]]:
    """The plays (``video_id``, ``play_time_ms``) of one bucket of users, by bucket of videos."""
    watch_ms = ints(plays.column("play_time_ms"))
    names, video, watch_ms, count = _counted(plays.column("video_id"), watch_ms, np.ones_like(watch_ms))
    many = np.bincount(video, minlength=len(names)) > settings.exact_up_to  # [V]
    sketches: dict[str, list[Sketch]] = {}
    for v in np.flatnonzero(many):
        own = video == v
        sketch = _new_sketch(settings)
        _add(sketch, watch_ms[own], count[own])
        sketch.Compact()
        sketches[names[v].as_py()] = [Sketch(user_bucket, int(count[own].sum()), sketch)]
    rows = _counts(names, video, watch_ms, count)
    for bucket, batch in split_by_bucket(rows, "video_id", num_buckets):
        outgrown = pc.is_in(batch.column("video_id"), value_set=pa.array([*sketches], TEXT))
        here = {name: sketches[name] for name in batch.filter(outgrown).column("video_id").unique().to_pylist()}
        yield bucket, Partial(batch.filter(pc.invert(outgrown)), here)


def merged(parts: Iterable[Partial]) -> Partial:
    """All plays of the parts given; counts and sketches stay what they are, so no order of merging matters."""
    every = list(parts)
    sketches: dict[str, list[Sketch]] = {}
    for part in every:
        for video, own in part.sketches.items():
            sketches[video] = [*sketches.get(video, ()), *own]
    return Partial(_counts(*_counted(*_columns(every))), sketches)


def videos_of(part: Partial, settings: Quantiles) -> pa.RecordBatch:
    """The quantiles (:data:`VIDEOS`) of the videos with ``min_plays`` plays or more; ``part`` holds all their plays."""
    names, video, watch_ms, count = _counted(*_columns([part]))
    outgrown = pc.is_in(names, value_set=pa.array([*part.sketches], TEXT)).to_numpy(zero_copy_only=False)
    exact = ~outgrown[video]
    groups, own_ms, plays = quantiles.by_group(video[exact], watch_ms[exact], count[exact])
    ids = names.take(pa.array(groups))
    exact_ones = [ids, *(pa.array(c) for c in (own_ms[:, 0], own_ms[:, 1], plays, np.zeros(len(groups))))]
    rows = []
    for name, sketches in part.sketches.items():
        own = video == pc.index(names, name).as_py()
        q50, q60, total = _of_sketches(sketches, watch_ms[own], count[own], settings)
        rows.append({"video_id": name, "q50_ms": q50, "q60_ms": q60, "plays": total, "rank_error": settings.sketch_eps})
    both = concat([pa.RecordBatch.from_arrays(exact_ones, schema=VIDEOS), pa.RecordBatch.from_pylist(rows, VIDEOS)])
    return both.filter(pc.greater_equal(both.column("plays"), settings.min_plays))


def _of_sketches(sketches: list[Sketch], watch_ms: Ints, count: Ints, settings: Quantiles) -> tuple[int, int, int]:
    """Q50, Q60 and the number of plays of a video, from its sketches and the counts [n] beside them."""
    whole = _new_sketch(settings)
    _add(whole, watch_ms, count)
    for sketch in sorted(sketches, key=lambda s: s.user_bucket):
        whole.Merge(sketch.watch_ms)
    q50, q60 = whole.GetQuantiles(_STEPS).values.to_numpy()[_PLACES]
    return int(q50), int(q60), int(count.sum()) + sum(s.plays for s in sketches)


def _new_sketch(settings: Quantiles) -> QuantilesSketch:
    return QuantilesSketch(settings.sketch_eps, _MAX_VALUES, 1)


def _add(sketch: QuantilesSketch, watch_ms: Ints, count: Ints) -> None:
    sketch.AddValues(pa.array(watch_ms), pa.array(count.astype(np.float64)))


def _columns(parts: list[Partial]) -> tuple[pa.Array, Ints, Ints]:
    """The columns of :data:`COUNTS` of all parts, behind one another."""
    whole = concat([nothing().counts, *(part.counts for part in parts)])
    return whole.column("video_id"), ints(whole.column("watch_ms")), ints(whole.column("count"))


def _counted(video_id: pa.Array, watch_ms: Ints, count: Ints) -> tuple[pa.Array, Ints, Ints, Ints]:
    """Each (video, watch time) once: the videos' names [V], then [n] the place among them, watch time and count."""
    encoded = video_id.dictionary_encode()
    return encoded.dictionary, *quantiles.histogram(ints(encoded.indices), watch_ms, count)


def _counts(names: pa.Array, video: Ints, watch_ms: Ints, count: Ints) -> pa.RecordBatch:
    """The batch of :data:`COUNTS` of what :func:`_counted` gave."""
    columns = [names.take(pa.array(video)), pa.array(watch_ms), pa.array(count)]
    return pa.RecordBatch.from_arrays(columns, schema=COUNTS)
