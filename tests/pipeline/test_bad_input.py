"""Bad input gives one clear line on stderr, a non-zero status, and no traceback."""

import shutil
import socket

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app


@pytest.fixture
def logs(tmp_path, small_logs):
    folder = tmp_path / "logs"
    shutil.copytree(small_logs, folder)
    return folder


@pytest.fixture(scope="session")
def small_logs(tmp_path_factory):
    """Simulated logs as CSV, so that tests can break them."""
    from simulation.logs import simulate, write
    from simulation.settings import Simulation

    folder = tmp_path_factory.mktemp("csv")
    settings = Simulation(num_plays=3_000, num_users=100, num_videos=100, days=6, format="csv", bad_row_fraction=0.0)
    write(simulate(settings), folder)
    return folder


@pytest.fixture
def config(tmp_path, logs):
    values = {
        "output": str(tmp_path / "out"),
        "data": {
            "root": str(logs),
            "time_zone": "Asia/Shanghai",
            "plays": {"files": ["{root}/plays_*.csv"]},
            "users": {"files": ["{root}/users.csv"], "key": "user_id", "columns": {"region": "region"}},
            "window": {"train_from": "2024-03-04", "evaluate_from": "2024-03-08", "evaluate_to": "2024-03-10"},
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def refused(*arguments):
    """The one line with which the command refuses."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 1, (done.output, done.exception)
    lines = done.stderr.strip().splitlines()
    said = [line for line in lines if line.startswith("skiprank: ")]
    assert len(said) == 1 and "Traceback" not in done.stderr, done.stderr
    return said[0]


def edit(path, change):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)


def test_a_missing_file(config):
    line = refused("run", "--config", config, "--set", "data.plays.files=['{root}/nothing_*.csv']")
    assert "data.plays.files: no file matches" in line and "nothing_*.csv" in line


def test_a_missing_side_table(config):
    line = refused("run", "--config", config, "--set", "data.users.files=['{root}/people.csv']")
    assert "data.users.files" in line and "people.csv" in line


def test_a_column_that_is_not_there_names_the_close_ones(config, logs):
    for path in logs.glob("plays_*.csv"):
        edit(path, lambda t: t.rename(columns={"play_time_ms": "playtime_ms"}))
    line = refused("run", "--config", config)
    assert "play_time_ms" in line and "'playtime_ms'" in line and "plays_2024" in line


def test_an_empty_log(config, logs):
    for path in logs.glob("plays_*.csv"):
        edit(path, lambda t: t.head(0))
    assert "no rows" in refused("run", "--config", config)


def test_a_file_without_a_header(config, logs):
    next(iter(logs.glob("plays_*.csv"))).write_text("")
    assert "is empty" in refused("run", "--config", config)


def test_a_log_without_evaluation_days(config, logs):
    for day in ("20240308", "20240309"):
        (logs / f"plays_{day}.csv").unlink()
    line = refused("run", "--config", config)
    assert "2024-03-08" in line and "evaluat" in line


def test_too_many_bad_rows(config, logs):
    for path in logs.glob("plays_*.csv"):
        edit(path, lambda t: t.assign(duration_ms=["0"] * (len(t) // 4) + list(t["duration_ms"][len(t) // 4 :])))
    line = refused("run", "--config", config)
    assert "non_positive_duration_ms" in line and "max_bad_row_fraction" in line


def test_a_broken_configuration(config):
    config.write_text(config.read_text() + "trainin: {}\n")
    assert "unknown field trainin; did you mean training" in refused("run", "--config", config)


def test_a_configuration_that_is_not_there(tmp_path):
    assert "cannot read the configuration" in refused("run", "--config", tmp_path / "none.yaml")


def test_simulated_logs_do_not_overwrite_real_ones(config):
    line = refused("run", "--config", config, "--set", "simulation={}")
    assert "holds files that no simulation wrote" in line


def test_a_port_in_use(tmp_path):
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "1" / "saved_model.pb").write_bytes(b"")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused("serve", "--model", tmp_path / "model", "--port", port)
    assert f"port {port} is in use" in line


def test_a_model_folder_without_versions(tmp_path, config):
    assert str(tmp_path) in refused("serve", "--model", tmp_path)
    assert "no version folders" in refused(
        "score", "--config", config, "--model", tmp_path / "none", "--out", tmp_path / "o"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank"], "either --target HOST:PORT or --model DIR"),
        (["rank", "--target", "127.0.0.1:1", "--request", "none.json"], "--request none.json"),
        (["rank", "--target", "127.0.0.1:1", "--at", "yesterday"], "--at takes a date"),
        (["rank", "--target", "127.0.0.1:1", "--weights", "1,2", "--request", "R"], "--weights takes three numbers"),
        (["score", "--model", "M", "--out", "o", "--from", "soon"], "--from takes a date"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    request = tmp_path / "request.json"
    candidates = '[{"video_id": "v", "duration_ms": 1000}]'
    request.write_text(f'{{"user_id": "u", "request_time_ms": 5, "candidates": {candidates}}}')
    assert message in refused(*[str(request) if a == "R" else a for a in arguments])


def test_nobody_answers(tmp_path):
    request = tmp_path / "request.json"
    candidates = '[{"video_id": "v", "duration_ms": 1000}]'
    request.write_text(f'{{"user_id": "u", "request_time_ms": 5, "candidates": {candidates}}}')
    assert "127.0.0.1:1" in refused("rank", "--target", "127.0.0.1:1", "--request", request)


def test_a_video_nobody_played(config):
    arguments = ["rank", "--config", config, "--target", "127.0.0.1:1", "--videos", "v0001,unheard"]
    assert "The video 'unheard' was not played" in refused(*arguments)
