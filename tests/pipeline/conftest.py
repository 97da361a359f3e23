"""One small pipeline for all tests that need a trained model: simulated, run and pushed once."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.settings import Settings, load

SMALL: dict[str, Any] = {
    "name": "small",
    "simulation": {"seed": 3, "num_plays": 12_000, "num_users": 400, "num_videos": 250, "days": 8},
    "data": {
        "time_zone": "Asia/Shanghai",
        "plays": {"files": ["{root}/plays_*.parquet"]},
        "users": {
            "files": ["{root}/users.parquet"],
            "key": "user_id",
            "columns": {"age_band": "age_band", "region": "region"},
        },
        "videos": {
            "files": ["{root}/videos.parquet"],
            "key": "video_id",
            "columns": {"author_id": "author_id", "category": "category", "music_id": "music_id"},
        },
        "feeds": ["featured", "friends"],
        "window": {"train_from": "2024-03-04", "evaluate_from": "2024-03-10", "evaluate_to": "2024-03-12"},
    },
    "sequences": {"history_length": 20},
    "training": {"epochs": 8, "plays_per_batch": 1024},
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its configuration and what ``skiprank run --json`` printed last."""

    config: Path
    settings: Settings
    result: dict[str, Any]
    stderr: str

    def artifact(self, node: str, key: str) -> Path:
        return max((Path(self.settings.output) / "artifacts" / node / key).iterdir(), key=lambda p: int(p.name))


def skiprank(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the console script as a user would."""
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done


@pytest.fixture(scope="session")
def cli():
    """The console script: ``cli("run", "--json")``."""
    return skiprank


@pytest.fixture(scope="session")
def small_config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    values = {**SMALL, "output": str(folder / "out"), "data": {**SMALL["data"], "root": str(folder / "logs")}}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="session")
def small_run(small_config) -> Run:
    done = skiprank("run", "--config", str(small_config), "--json")
    return Run(small_config, load(small_config), json.loads(done.stdout.splitlines()[-1]), done.stderr)
