"""The watch-time quantiles of a run: what a watch time is judged by, wherever it is judged.

The model imports this module to carry the table into the SavedModel, so it needs neither Beam nor TFX.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.watch_time_quantiles import quantiles
from components.watch_time_quantiles.quantiles import Ints

Floats = np.ndarray[Any, np.dtype[np.float64]]

VIDEOS_FILE, TABLE_FILE = "videos.parquet", "table.json"


def duration_bucket(edges_ms: Ints, duration_ms: Ints) -> Ints:
    """The bucket [n] of each duration: bucket b holds [edges[b-1], edges[b]), the first and the last are open."""
    return np.searchsorted(edges_ms, duration_ms, side="right").astype(np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class QuantileTable:
    """Q50 and Q60 of the watch times: per video, per duration bucket, and over all plays.

    E edges, V videos with enough plays of their own.

    Attributes:
        edges_ms: int64[E], ascending.
        bucket_ms: int64[E+1, 2], (q50, q60) over all plays of each duration bucket; an empty one has the global ones.
        global_ms: int64[2], (q50, q60) over all plays.
        video_id: The V videos with at least ``min_plays`` plays in the statistics window, sorted.
        video_ms: int64[V, 2], their own (q50, q60).
        video_plays: int64[V], their plays in the statistics window.
        video_rank_error: float64[V], by how much the rank of a quantile may be off, as a share of the video's plays:
            0 where the quantiles are exact (the default), ``quantiles.sketch_eps`` where a sketch gave them.
    """

    edges_ms: Ints
    bucket_ms: Ints
    global_ms: Ints
    video_id: Sequence[str]
    video_ms: Ints
    video_plays: Ints
    video_rank_error: Floats = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.video_rank_error is None:
            object.__setattr__(self, "video_rank_error", np.zeros(len(self.video_id)))
        edges, videos = len(self.edges_ms), len(self.video_id)
        shapes = {
            "bucket_ms": (edges + 1, 2),
            "global_ms": (2,),
            "video_ms": (videos, 2),
            "video_plays": (videos,),
            "video_rank_error": (videos,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"`{name}` must have the shape {shape}. Received: {getattr(self, name).shape}.")

    @classmethod
    def of_plays(
        cls, edges_ms: Ints, min_plays: int, video_id: Sequence[str], watch_ms: Ints, duration_ms: Ints
    ) -> QuantileTable:
        """The table of plays held in memory: one video id, watch time and duration per play [n], n ≥ 1."""
        ids, video = np.unique(np.asarray(video_id, object).astype(str), return_inverse=True)
        groups, video_ms, plays = quantiles.by_group(video.astype(np.int64), watch_ms, np.ones_like(watch_ms))
        enough = plays >= min_plays
        histogram = quantiles.histogram(duration_bucket(edges_ms, duration_ms), watch_ms, np.ones_like(watch_ms))
        names = ids[groups[enough]].tolist()
        return cls.of_statistics(edges_ms, histogram, names, video_ms[enough], plays[enough])

    @classmethod
    def of_statistics(
        cls,
        edges_ms: Ints,
        histogram: tuple[Ints, Ints, Ints],
        video_id: Sequence[str],
        video_ms: Ints,
        video_plays: Ints,
        video_rank_error: Floats | None = None,
    ) -> QuantileTable:
        """The table of a histogram of all plays (bucket, watch_ms, count) and of the videos' own quantiles."""
        bucket, value, count = histogram
        overall = quantiles.of_histogram(value, count)
        bucket_ms = np.tile(overall, (len(edges_ms) + 1, 1))
        for b in np.unique(bucket):
            bucket_ms[b] = quantiles.of_histogram(value[bucket == b], count[bucket == b])
        order = sorted(range(len(video_id)), key=video_id.__getitem__)
        error = np.zeros(len(order)) if video_rank_error is None else video_rank_error[order]
        names = [video_id[i] for i in order]
        return cls(edges_ms, bucket_ms, overall, names, video_ms[order], video_plays[order], error)

    def thresholds(self, video_ids: Sequence[str] | pa.Array, duration_ms: Ints) -> Ints:
        """(q50, q60) int64[n, 2] for plays of ``video_ids`` with ``duration_ms``, both [n].

        A video's own ones where it has them, else those of its duration's bucket.
        """
        fallback = self.bucket_ms[duration_bucket(self.edges_ms, duration_ms)]  # [n, 2]
        if not len(self.video_id):
            return fallback
        where = pc.index_in(pa.array(video_ids, pa.large_string()), value_set=self._own)
        index = pc.fill_null(where, -1).to_numpy(zero_copy_only=False)
        return np.where((index >= 0)[:, None], self.video_ms[index], fallback)

    @property
    def _own(self) -> pa.Array:
        """The videos as an Arrow array, made once."""
        own = self.__dict__.get("_own_ids")
        if own is None:
            own = self.__dict__["_own_ids"] = pa.array(self.video_id, pa.large_string())
        return own

    def save(self, directory: str) -> None:
        """Writes the table into ``directory`` (a local path, or any that TensorFlow's file system knows)."""
        gfile = _gfile()
        gfile.makedirs(directory)
        videos = pa.table(
            {
                "video_id": pa.array(self.video_id, pa.large_string()),
                "q50_ms": self.video_ms[:, 0],
                "q60_ms": self.video_ms[:, 1],
                "plays": self.video_plays,
                "rank_error": self.video_rank_error,
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(videos, sink)
        with gfile.GFile(os.path.join(directory, VIDEOS_FILE), "wb") as file:
            file.write(sink.getvalue().to_pybytes())
        rest = {name: getattr(self, name).tolist() for name in ("edges_ms", "bucket_ms", "global_ms")}
        with gfile.GFile(os.path.join(directory, TABLE_FILE), "w") as file:
            file.write(json.dumps(rest))

    @classmethod
    def load(cls, directory: str) -> QuantileTable:
        """The table that :meth:`save` wrote."""
        gfile = _gfile()
        with gfile.GFile(os.path.join(directory, VIDEOS_FILE), "rb") as file:
            videos = pq.read_table(pa.BufferReader(file.read()))
        with gfile.GFile(os.path.join(directory, TABLE_FILE), "r") as file:
            rest = {name: np.array(value, np.int64) for name, value in json.loads(file.read()).items()}
        columns = {name: videos.column(name).to_numpy().astype(np.int64) for name in ("q50_ms", "q60_ms", "plays")}
        return cls(
            **rest,
            video_id=videos.column("video_id").to_pylist(),
            video_ms=np.stack([columns["q50_ms"], columns["q60_ms"]], axis=1),
            video_plays=columns["plays"],
            video_rank_error=videos.column("rank_error").to_numpy(),
        )


def _gfile() -> Any:
    """TensorFlow's file system, as TFX writes its artifacts; imported late, for it takes seconds."""
    import tensorflow as tf

    return tf.io.gfile
