"""Both components through their executors, on small logs."""

import gzip
import itertools

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that

from components.features import FLAGS
from components.play_log.errors import InputError
from components.play_sequences.examples import Encoder
from components.play_sequences.transforms import UserExamples, UserPlays, flagged_columns
from components.play_sequences.windows import Segment
from components.watch_time_quantiles.executor import build as build_quantiles
from components.watch_time_quantiles.table import QuantileTable

pytestmark = pytest.mark.beam

SMALL = {
    "quantiles": {"min_plays": 5, "duration_edges": {"first_ms": 5_000, "last_ms": 60_000, "count": 4}},
    "sequences": {"history_length": 6, "targets_per_example": 4},
    "feeds": ["main", "friends"],
    "plays": {"columns": {"category": "tag"}},
    "video_columns": ["category"],
    "users": {"files": ["{root}/users*"], "key": "uid", "columns": {"age": "age"}},
    "videos": {"files": ["{root}/videos*"], "key": "video_id", "columns": {"author_id": "by", "music_id": "music"}},
}

USERS = pd.DataFrame({"uid": [str(i) for i in range(11)] + ["3"], "age": [f"a{i % 4}" for i in range(12)]})
VIDEOS = pd.DataFrame({"video_id": ["0", "1", "2", "9"], "by": ["p", "q", "p", "r"], "music": ["1", "", "2", "3"]})


@pytest.fixture(scope="module")
def log(log_of):
    plays = log_of()
    plays["tag"] = np.where(plays.video_id.astype(int) % 2, "odd", "")
    return plays


def write_side_tables(root):
    USERS.to_csv(root / "users.csv", index=False)
    VIDEOS.to_csv(root / "videos.csv", index=False)


@pytest.fixture(scope="module")
def reference(log, settings_for, components_run, tmp_path_factory):
    root = tmp_path_factory.mktemp("reference")
    write_side_tables(root)
    log.to_csv(root / "plays.csv", index=False)
    return components_run(settings_for(root, **SMALL), root / "out")


def same(found, reference):
    for split in ("train", "eval"):
        assert sorted(found.examples[split]) == sorted(reference.examples[split])
    assert found.counts == reference.counts


def test_examples_of_a_small_log(reference, log):
    feeds = log[log.platform != "grid"].sort_values("play_time_ms").drop_duplicates(
        ["user_id", "video_id", "time_ms"], keep="last"
    )  # fmt: skip
    counts = reference.counts
    assert counts.rows_read == len(log) == 440 and counts.plays == len(feeds)
    assert counts.not_a_feed == (log.platform == "grid").sum()
    assert counts.duplicates == len(log) - counts.not_a_feed - len(feeds) > 0
    names = ["user_id", "video_id", "time_ms", "play_time_ms", "category", "author_id", "age", *FLAGS]
    found = pd.concat(reference.plays(split, names) for split in ("train", "eval"))
    assert len(found) == len(feeds) == sum(counts.targets.values())
    assert (found.category == np.where(found.video_id.astype(int) % 2, "odd", "")).all()
    assert (found.author_id == found.video_id.map({"0": "p", "1": "q", "2": "p"}).fillna("")).all()
    ages = USERS.sort_values("age").drop_duplicates("uid").set_index("uid").age
    assert (found.age == found.user_id.map(ages).fillna("")).all()
    assert (found.gvv == (found.play_time_ms < 3_000)).all() and 0 < found.evv.mean() < 1
    assert not [f for f in (reference.folder / "examples").iterdir() if f.name.startswith(".")]


def test_csv_gz_and_parquet_give_the_same_examples(reference, log, settings_for, components_run, tmp_path):
    for name in ("gz", "parquet", "typed"):
        (tmp_path / name).mkdir()
        write_side_tables(tmp_path / name)
    with gzip.open(tmp_path / "gz" / "plays.csv.gz", "wt") as file:
        log.to_csv(file, index=False)
    pq.write_table(pa.Table.from_pandas(log), tmp_path / "parquet" / "plays.parquet", row_group_size=37)
    typed = log.astype({"user_id": float, "video_id": "int32", "play_time_ms": float})
    typed["platform"] = typed.platform.astype("category")
    typed["tag"] = typed.tag.replace("", None)
    pq.write_table(pa.Table.from_pandas(typed), tmp_path / "typed" / "plays.parquet")
    (tmp_path / "typed" / "videos.csv").unlink()
    pq.write_table(pa.Table.from_pandas(VIDEOS.astype({"video_id": float})), tmp_path / "typed" / "videos.parquet")
    for name in ("gz", "parquet", "typed"):
        root = tmp_path / name
        found = components_run(settings_for(root, "plays.*", **SMALL), root / "out")
        same(found, reference)


def test_order_and_files_and_buckets_do_not_matter(reference, log, settings_for, components_run, tmp_path):
    write_side_tables(tmp_path)
    (tmp_path / "users.csv").unlink()
    USERS.iloc[::-1].iloc[:5].to_csv(tmp_path / "users1.csv", index=False)
    USERS.iloc[::-1].iloc[5:].to_csv(tmp_path / "users2.csv", index=False)
    shuffled = log.sample(frac=1, random_state=3)
    cuts = [0, 10, 11, 200, len(log)]
    for i, (start, end) in enumerate(itertools.pairwise(cuts)):
        shuffled.iloc[start:end].to_csv(tmp_path / f"plays-{i}.csv", index=False)
    settings = settings_for(tmp_path, "plays-*.csv", **SMALL, num_buckets=5)
    same(components_run(settings, tmp_path / "out"), reference)


def test_a_hot_video(log_of, settings_for, tmp_path):
    log = log_of(plays=20_000, users=500)
    hot = np.arange(len(log)) % 10 < 3
    log.loc[hot, "video_id"], log.loc[hot, "play_time_ms"] = "hot", np.arange(len(log))[hot] * 7_919 % 3_600_000
    (tmp_path / "cut").mkdir()
    log.to_csv(tmp_path / "plays.csv", index=False)
    for i, part in enumerate(np.array_split(log.sample(frac=1, random_state=1), 5)):
        part.to_csv(tmp_path / "cut" / f"plays{i}.csv", index=False)

    def table_of(files, **changes):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        with beam.Pipeline() as pipeline:
            build_quantiles(pipeline, settings_for(tmp_path, files, quantiles=changes, num_buckets=4), str(out))
        return QuantileTable.load(str(out))

    exact, *sketched = (table_of("plays.csv"), *(table_of(f, exact_up_to=1_000) for f in ("plays.csv", "cut/*.csv")))
    at = exact.video_id.index("hot")
    assert not exact.video_rank_error.any()
    for table in sketched:  # neither order nor files matter, to a sketch either
        assert np.flatnonzero(table.video_rank_error).tolist() == [at] and table.video_rank_error[at] == 0.001
        assert (table.video_ms == sketched[0].video_ms).all() and (table.video_plays == exact.video_plays).all()
        others = np.arange(len(exact.video_id)) != at
        assert (table.video_ms[others] == exact.video_ms[others]).all()
        assert (table.bucket_ms == exact.bucket_ms).all() and (table.global_ms == exact.global_ms).all()
        assert np.abs(table.video_ms[at] - exact.video_ms[at]).max() <= 0.005 * 3_600_000


def test_files_are_equal_byte_by_byte(reference, log, settings_for, components_run, tmp_path):
    write_side_tables(tmp_path)
    log.iloc[::-1].to_csv(tmp_path / "plays.csv", index=False)
    components_run(settings_for(tmp_path, **SMALL), tmp_path / "out")
    for file in (reference.folder / "examples").glob("*/*"):
        again = tmp_path / "out" / "examples" / file.parent.name / file.name
        assert again.read_bytes() == file.read_bytes()


def test_worker_processes(reference, log, settings_for, components_run, tmp_path):
    write_side_tables(tmp_path)
    log.iloc[:200].to_csv(tmp_path / "plays1.csv", index=False)
    log.iloc[200:].to_csv(tmp_path / "plays2.csv", index=False)
    args = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    same(components_run(settings_for(tmp_path, "plays*.csv", **SMALL), tmp_path / "out", args), reference)


def test_a_damaged_file_ends_the_run_with_one_line(log, settings_for, components_run, tmp_path):
    packed = gzip.compress(log.to_csv(index=False).encode())
    (tmp_path / "plays.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"^\S*plays.csv.gz cannot be read, it may be damaged or cut short: [^\n]*$"):
        components_run(settings_for(tmp_path, "plays.csv.gz"), tmp_path / "out")


def test_bad_rows_are_set_aside(log, settings_for, components_run, reference, tmp_path):
    write_side_tables(tmp_path)
    (tmp_path / "videos.csv").open("a").write(",x,y\n7\n")
    lines = log.to_csv(index=False).splitlines()
    lines[5:5] = ["u,v,noon,1,2,main,t", "u,v"]
    (tmp_path / "plays.csv").write_text("\n".join(lines))
    found = components_run(settings_for(tmp_path, **SMALL), tmp_path / "out")
    for split in ("train", "eval"):
        assert sorted(found.examples[split]) == sorted(reference.examples[split])
    assert found.counts.bad == {"not_a_number_time_ms": 1, "wrong_number_of_fields": 1}
    assert found.counts.side_table_bad == {"missing_video_id": 1, "wrong_number_of_fields": 1}
    rows = {tuple(r) for r in found.bad[["file", "row", "reason"]].itertuples(index=False)}
    plays, videos = str(tmp_path / "plays.csv"), str(tmp_path / "videos.csv")
    assert rows == {
        (plays, 5, "not_a_number_time_ms"),
        (plays, 6, "wrong_number_of_fields"),
        (videos, 5, "missing_video_id"),
        (videos, 6, "wrong_number_of_fields"),
    }
    settings = settings_for(tmp_path, **SMALL, max_bad_row_fraction=0.001)
    with pytest.raises(InputError, match=r"2 of 442 rows .* 1 not_a_number_time_ms \(first in .*plays.csv, row 5\)"):
        components_run(settings, tmp_path / "out2")


def window(*moments):
    return {"window": dict(zip(("train_from", "evaluate_from", "evaluate_to"), moments, strict=True))}


@pytest.mark.parametrize(
    ("kept", "changes", "message"),
    [
        (slice(0, 0), {}, "The play log has no rows"),
        (
            slice(None),
            {"feeds": ["nowhere"]},
            "No plays in the statistics window from 2024-01-01 to 2024-01-11 .* outside data.feeds .'nowhere'.",
        ),
        (
            slice(None),
            window("2024-01-05", "2024-02-01", "2024-02-03"),
            r"No plays in the evaluation window from 2024-02-01 to 2024-02-03 \(exclusive\). Its good rows go from "
            r"2024-01-01 08:00:00 to 2024-01-13 07:00:00 \(Asia/Shanghai\)",
        ),
        (
            slice(None),
            window("2023-01-05", "2024-01-01", "2024-02-03"),
            "No plays in the statistics window from 2023-01-05 to 2024-01-01",
        ),
    ],
)
def test_a_log_that_leaves_nothing(log, settings_for, components_run, tmp_path, kept, changes, message):
    whole = log.copy()
    whole.iloc[:2, whole.columns.get_loc("time_ms")] = [1_704_067_200_000, 1_705_100_400_000]  # the first and the last
    whole.iloc[kept].to_csv(tmp_path / "plays.csv", index=False)
    settings = settings_for(tmp_path, time_zone="Asia/Shanghai", **{"feeds": None, **changes})
    with pytest.raises(InputError, match=message) as error:
        components_run(settings, tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_bulk_scoring_pipeline(reference, log, settings_for, tmp_path):
    write_side_tables(tmp_path)
    log.to_csv(tmp_path / "plays.csv", index=False)
    settings = settings_for(tmp_path, **SMALL)
    start, middle, end = settings.data.window_ms

    def check_plays(batches):
        for _, batch in batches:
            assert tuple(batch.schema.names) == flagged_columns(settings)
            rows = batch.select(["user_id", "time_ms", "video_id"]).to_pylist()
            assert rows == sorted(rows, key=lambda r: tuple(r.values()))

    def check_examples(found):
        raw = [e for name, batch in found for e in Encoder().encode(batch) if name == "eval"]
        assert sorted(raw) == sorted(reference.examples["eval"])

    def check_unflagged(batches):
        assert sum(b.num_rows for _, b in batches) == sum(reference.counts.targets.values())
        assert not any(any(b.column(f).to_pylist()) for _, b in batches for f in FLAGS)

    with beam.Pipeline() as pipeline:
        plays = pipeline | UserPlays(settings, (start, end), str(reference.folder / "quantiles"))
        examples = plays.keyed | UserExamples(settings, [Segment("eval", middle, end), Segment("none", end, end)])
        unflagged = pipeline | "Unflagged" >> UserPlays(settings, (start, end), None)
        assert_that(plays.keyed, check_plays, "plays")
        assert_that(examples, check_examples, "examples")
        assert_that(unflagged.keyed, check_unflagged, "unflagged")


def test_the_components_fit_into_a_tfx_pipeline(settings_for, tmp_path):
    from tfx.types import standard_artifacts

    from components import artifacts
    from components.play_sequences.component import PlaySequences
    from components.watch_time_quantiles.component import WatchTimeQuantiles

    settings = settings_for(tmp_path).model_dump_json()
    quantiles = WatchTimeQuantiles(settings=settings)
    sequences = PlaySequences(settings=settings, quantiles=quantiles.outputs["quantiles"])
    assert quantiles.outputs["quantiles"].type is artifacts.WatchTimeQuantiles
    assert sequences.outputs["examples"].type is standard_artifacts.Examples
    assert sequences.outputs["quarantine"].type is artifacts.Quarantine
    assert sequences.exec_properties == {"settings": settings}
