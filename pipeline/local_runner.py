"""Runs the pipeline on this machine, by TFX's LocalDagRunner.

``skiprank run`` calls :func:`run`. ``python -m pipeline.local_runner`` and
``tfx pipeline create --engine=local --pipeline_path=pipeline/local_runner.py`` use this file as a script; they read the
configuration named by the environment variable SKIPRANK_CONFIG (default: ``configs/demo.yaml``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.demo_data import prepare
from pipeline.results import RunResult, collect
from pipeline.settings import Settings, load

#: The configuration used where none is named.
DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"

#: Called when a stage starts (seconds None) and when it ends: (stage, its number, number of stages, seconds).
Progress = Callable[[str, int, int, float | None], None]


class _StageClock(logging.Handler):
    """Learns from the runner's log lines when a stage starts and ends."""

    def __init__(self, stages: int, progress: Progress):
        super().__init__(logging.INFO)
        self.seconds: dict[str, float] = {}
        self._stages, self._progress = stages, progress
        self._since = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "Component %s is running." and isinstance(record.args, tuple):
            self._since = time.monotonic()
            self._progress(str(record.args[0]), len(self.seconds) + 1, self._stages, None)
        elif record.msg == "Component %s is finished." and isinstance(record.args, tuple):
            stage = str(record.args[0])
            self.seconds[stage] = time.monotonic() - self._since
            self._progress(stage, len(self.seconds), self._stages, self.seconds[stage])


@contextlib.contextmanager
def _logs_to(path: Path, clock: _StageClock) -> Iterator[None]:
    """Sends what TFX, Beam and TensorFlow log to a file, and nothing of it to the terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, mode="w", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, absl = logging.getLogger(), logging.getLogger("absl")
    before = root.handlers, absl.handlers, absl.propagate, root.level, absl.level
    root.handlers, absl.handlers, absl.propagate = [file], [clock], True
    root.setLevel(logging.INFO)
    absl.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers, absl.handlers, absl.propagate = before[0], before[1], before[2]
        root.setLevel(before[3])
        absl.setLevel(before[4])
        file.close()


def run(settings: Settings, progress: Progress = lambda *_: None) -> RunResult:
    """Runs every stage and says what came out.

    Raises:
        InputError: If the logs cannot be used; nothing has run yet when that shows in files or headers.
    """
    prepare(settings)
    from components.play_log.check import check_inputs
    from tfx import v1 as tfx

    from pipeline.dag import create_pipeline

    check_inputs(settings.data)
    pipeline = create_pipeline(settings)
    clock = _StageClock(len(pipeline.components), progress)
    with _logs_to(Path(settings.output) / "run.log", clock):
        tfx.orchestration.LocalDagRunner().run(pipeline)
        return collect(settings, clock.seconds)


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
