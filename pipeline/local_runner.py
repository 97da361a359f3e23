"""Runs the pipeline on this machine, by TFX's LocalDagRunner.

``skiprank run`` calls :func:`run`. ``python -m pipeline.local_runner`` and
``tfx pipeline create --engine=local --pipeline_path=pipeline/local_runner.py`` use this file as a script; they read the
configuration named by the environment variable SKIPRANK_CONFIG (default: ``configs/demo.yaml``).
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline import DEFAULT_CONFIG
from pipeline.demo_data import prepare
from pipeline.results import RunResult, collect
from pipeline.settings import Settings, load

#: Called when a stage starts (seconds None) and when it ends: (stage, its number, number of stages, seconds).
Progress = Callable[[str, int, int, float | None], None]


@contextlib.contextmanager
def _logs_to(path: Path) -> Iterator[None]:
    """Sends what TFX, Beam and TensorFlow log to a file, and nothing of it to the terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, mode="w", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, absl = logging.getLogger(), logging.getLogger("absl")
    before = root.handlers, absl.handlers, root.level
    root.handlers, absl.handlers = [file], []
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers, absl.handlers = before[0], before[1]
        root.setLevel(before[2])
        file.close()


def _run_stages(pipeline: Any, progress: Progress) -> dict[str, float]:
    """Runs the stages one by one by TFX's LocalDagRunner and gives their seconds."""
    from tfx.dsl.compiler import compiler, constants
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.portable import runtime_parameter_utils

    ir = compiler.Compiler().compile(pipeline)
    run_id = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()}
    runtime_parameter_utils.substitute_runtime_parameter(ir, run_id)
    names = [node.pipeline_node.node_info.id for node in ir.nodes]
    seconds: dict[str, float] = {}
    for number, name in enumerate(names, 1):
        alone = copy.deepcopy(ir)  # the same run, every other stage skipped
        for node in alone.nodes:
            if node.pipeline_node.node_info.id != name:
                node.pipeline_node.execution_options.skip.SetInParent()
        progress(name, number, len(names), None)
        since = time.monotonic()
        LocalDagRunner().run_with_ir(alone)
        seconds[name] = time.monotonic() - since
        progress(name, number, len(names), seconds[name])
    return seconds


def run(settings: Settings, progress: Progress = lambda *_: None) -> RunResult:
    """Runs every stage and says what came out.

    Raises:
        InputError: If the logs cannot be used; nothing has run yet when that shows in files or headers.
    """
    prepare(settings)
    from components.play_log.check import check_inputs

    check_inputs(settings.data, settings.beam_args)
    with _logs_to(Path(settings.output) / "run.log"):
        from pipeline.dag import create_pipeline

        seconds = _run_stages(create_pipeline(settings), progress)
        return collect(settings, seconds)


def main() -> None:
    """The script: runs the configuration of SKIPRANK_CONFIG by TFX's own runner, with TFX's own logs."""
    settings = load(os.environ.get("SKIPRANK_CONFIG", DEFAULT_CONFIG))
    prepare(settings)
    from tfx import v1 as tfx

    from pipeline.dag import create_pipeline

    logging.getLogger().setLevel(logging.INFO)
    tfx.orchestration.LocalDagRunner().run(create_pipeline(settings))


if __name__ == "__main__":
    main()
