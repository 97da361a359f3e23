"""Both data components on a Flink cluster: what they write is what they write on one machine, whatever happens."""

import concurrent.futures
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.play_log.counts import Counts
from components.play_log.errors import InputError
from components.settings import Components
from components.watch_time_quantiles.table import QuantileTable
from pipeline.settings import load
from simulation.logs import simulate, write
from simulation.settings import Simulation

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "flink.yaml"
ON_ONE_MACHINE = ["--beam_plugins=components"]
SIMULATION = Simulation(seed=5, num_plays=60_000, bad_row_fraction=0.003)


@dataclasses.dataclass
class Output:
    """What the two components wrote, in a form that compares."""

    table: dict[str, Any]
    examples: dict[str, dict[str, list[bytes]]]
    bad: list[dict[str, Any]]
    counts: Counts

    def same_as(self, other: "Output") -> None:
        """Fails where anything differs: the files of examples are compared record by record, in their order."""
        for name, value in self.table.items():
            np.testing.assert_array_equal(value, other.table[name], err_msg=name)
        assert self.counts == other.counts
        assert self.bad == other.bad
        for split, files in self.examples.items():
            assert files.keys() == other.examples[split].keys()
            for name, records in files.items():
                assert records == other.examples[split][name], f"{split}/{name} differs"


def run_quantiles(settings: Components, out: Path, beam_args: list[str]) -> Any:
    """Runs WatchTimeQuantiles as TFX does, and returns its artifact."""
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

    from components import artifacts
    from components.watch_time_quantiles.executor import Executor

    made = artifact(artifacts.WatchTimeQuantiles, out / "quantiles")
    context = BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args))
    Executor(context).Do({}, {"quantiles": [made]}, {"settings": settings.model_dump_json()})
    return made


def run_sequences(settings: Components, out: Path, quantiles: Any, beam_args: list[str]) -> Output:
    """Runs PlaySequences as TFX does, and reads what both components wrote."""
    import tensorflow as tf
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import standard_artifacts

    from components import artifacts
    from components.play_sequences.executor import Executor

    examples = artifact(standard_artifacts.Examples, out / "examples")
    quarantine = artifact(artifacts.Quarantine, out / "quarantine")
    context = BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args))
    Executor(context).Do(
        {"quantiles": [quantiles]},
        {"examples": [examples], "quarantine": [quarantine]},
        {"settings": settings.model_dump_json()},
    )
    records = {
        split: {
            file.name: list(tf.data.TFRecordDataset(str(file), compression_type="GZIP").as_numpy_iterator())
            for file in sorted((out / "examples" / f"Split-{split}").iterdir())
        }
        for split in ("train", "eval")
    }
    assert sorted(p.name for p in (out / "examples").iterdir()) == ["Split-eval", "Split-train"]
    bad = [row for file in (out / "quarantine").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    table = QuantileTable.load(quantiles.uri)
    values = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    counts = Counts.from_json(quarantine.get_string_custom_property("counts"))
    return Output(values, records, sorted(bad, key=lambda row: json.dumps(row, sort_keys=True)), counts)


def artifact(kind: Any, folder: Path) -> Any:
    folder.mkdir(parents=True)
    made = kind()
    made.uri = str(folder)
    return made


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    write(simulate(SIMULATION), folder)
    return folder


@pytest.fixture(scope="module")
def settings(logs):
    return load(CONFIG, [f"data.root={logs}", "num_buckets=16"])


@pytest.fixture(scope="module")
def beam_args(cluster, settings):
    return [*ON_ONE_MACHINE, *cluster.beam_args(settings.beam_args)]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)  # --setup_file=./setup.py


@pytest.fixture(scope="module")
def reference(settings, tmp_path_factory):
    """Both components with Beam's DirectRunner."""
    out = tmp_path_factory.mktemp("direct")
    quantiles = run_quantiles(settings.components, out, ON_ONE_MACHINE)
    output = run_sequences(settings.components, out, quantiles, ON_ONE_MACHINE)
    assert output.bad and output.counts.duplicates and all(output.examples.values())
    return output


def on_flink(cluster, settings, out, beam_args):
    """Both components on the cluster; the tails of its logs, where a job fails."""
    try:
        quantiles = run_quantiles(settings.components, out, beam_args)
        return run_sequences(settings.components, out, quantiles, beam_args)
    except RuntimeError as error:
        pytest.fail(f"A job failed on Flink: {error}\n{cluster.tails()}", pytrace=False)


def test_flink_writes_what_one_machine_writes(cluster, settings, beam_args, reference, tmp_path):
    found = on_flink(cluster, settings, tmp_path, beam_args)
    found.same_as(reference)
    assert set(cluster.job_ids().values()) == {"FINISHED"} and len(cluster.job_ids()) == 2


def test_a_damaged_file_is_named_as_on_one_machine(cluster, logs, beam_args, tmp_path):
    for file in logs.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = tmp_path / "plays_20240307.parquet"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:200] + bytes(len(whole) // 2) + whole[200 + len(whole) // 2 :])
    settings = load(CONFIG, [f"data.root={tmp_path}", "num_buckets=16"])
    with pytest.raises(InputError, match=r"plays_20240307\.parquet cannot be read") as error:
        run_quantiles(settings.components, tmp_path / "out", beam_args)
    assert "\n" not in str(error.value)


def kill_half_way(cluster) -> tuple[str, str]:
    """Kills a task manager that has work in hand once half of the tasks of a run's second job are done.

    Returns:
        The job, and the task manager.
    """
    before = cluster.job_ids().keys()

    def second() -> str | None:
        new = [job for job in cluster.get("jobs/overview")["jobs"] if job["jid"] not in before]
        return max(new, key=lambda job: job["start-time"])["jid"] if len(new) == 2 else None

    job = cluster.wait(second, "the second job to start")

    def busy() -> str | None:
        state = cluster.get(f"jobs/{job}")["state"]
        if state not in {"INITIALIZING", "CREATED", "RUNNING"}:
            pytest.fail(f"The job was {state} before a task manager could be killed.", pytrace=False)
        tasks = cluster.subtasks(job)
        if not tasks or sum(task.state == "FINISHED" for task in tasks) < len(tasks) / 2:
            return None
        return next((task.manager for task in tasks if task.state == "RUNNING"), None)

    manager = cluster.wait(busy, "half of the job's tasks to be done")
    cluster.processes[manager].kill()
    return job, manager


def test_a_killed_task_manager_changes_nothing(cluster, settings, beam_args, reference, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        killing = threads.submit(kill_half_way, cluster)
        found = on_flink(cluster, settings, tmp_path, beam_args)
        job, manager = killing.result()
    found.same_as(reference)
    assert cluster.get(f"jobs/{job}")["state"] == "FINISHED"
    assert max(task.attempt for task in cluster.subtasks(job)) > 0, "no task was run again"
    cluster.wait(lambda: manager not in cluster.task_managers(), f"{manager} to be missed")
    assert len(cluster.task_managers()) == 1
