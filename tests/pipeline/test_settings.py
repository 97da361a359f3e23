"""The settings model: what it takes, what it refuses, and how it says so."""

from pathlib import Path

import pytest
import yaml

from pipeline.settings import ConfigError, load

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
DEMO = ROOT / "configs" / "demo.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_configuration_loads(path):
    settings = load(path)
    assert settings.model_run.video_columns[:2] == ["author_id", "category"]


def test_overrides_are_dotted_and_typed():
    settings = load(DEMO, ["model.encoder=none", "training.epochs=2", "data.feeds=[featured]", "data.root=/logs"])
    assert settings.model.encoder == "none"
    assert settings.training.epochs == 2
    assert settings.data.feeds == ["featured"]
    assert settings.data.root == "/logs"


def test_the_paper_preset_gives_way_to_what_is_written():
    settings = load(DEMO, ["model.preset=paper"])
    assert not settings.model.context_thresholds and settings.model.item_embedding == "video"
    assert settings.model.context_video == ["category"]
    assert load(DEMO, ["model.preset=paper", "model.context_thresholds=true"]).model.context_thresholds


def test_the_paper_configuration_is_the_paper():
    settings = load(ROOT / "configs" / "paper.yaml")
    assert settings.sequences.targets == 1 and settings.model.attention == "full"
    assert settings.training.negatives == "random" and settings.training.task_weights == "adaptive"
    bare = {n for n in type(settings.model).model_fields if n.startswith(("context_", "token_", "history_", "gate_"))}
    assert not any(getattr(settings.model, n) for n in bare - {"context_video"})


def test_data_and_model_settings_reach_the_parts():
    settings = load(ROOT / "configs" / "kuairand.yaml", ["sequences.history_length=20", "num_buckets=3"])
    run = settings.model_run
    assert run.utc_offset_ms == 8 * 3_600_000
    assert run.history_length == 20 and run.targets_per_example == 20 and run.max_prefix == 39
    assert run.profile_columns[0] == "user_active_degree" and "music_id" in run.video_columns
    assert settings.components.num_buckets == 3 and settings.components.sequences.history_length == 20


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.encodr=none", "unknown field model.encodr; did you mean encoder"),
        ("model.encoder=lstm", "model.encoder: Input should be 'attention' or 'none'. Received: 'lstm'"),
        ("training.epochs=0", "training.epochs: Input should be greater than 0. Received: 0"),
        ("training.epochs=many", "training.epochs: Input should be a valid integer"),
        ("serving.fusion_weights.gvv=1", "serving.fusion_weights.gvv: Input should be less than or equal to 0"),
        ("data.time_zone=Mars/Phobos", "data.time_zone: there is no time zone 'Mars/Phobos'"),
        ("data.window.evaluate_from=2024-01-01", "data.window must go train_from < evaluate_from < evaluate_to"),
        ("data.time_range={earliest: 5, latest: 4}", "data.time_range is empty"),
        ("sequences.targets_per_example=51", "targets_per_example must not exceed history_length"),
        ("model.attention=full", "model.attention 'full' needs sequences.targets_per_example 1"),
        ("model.context_video=[colour]", "model.context_video names 'colour'"),
        ("model.vocabulary_counts.video_id=30", "model.vocabulary_counts.video_id must not exceed quantiles.min_plays"),
        ("training.weights={evv: 1}", "training.weights needs one value for each of"),
        ("quantiles.duration_edges.first_ms=700000", "first_ms must be below last_ms"),
        ("data.videos.columns={user_id: x}", "The column name 'user_id' is reserved"),
        ("data.video_columns=[author_id]", "The column 'author_id' is declared twice"),
        ("data.plays.columns={tab: platform}", "data.plays.columns maps 'tab', which is no column of ours"),
        ("evaluation.min_auc={}", "evaluation.min_auc: Dictionary should have at least 1 item"),
        ("name=Two Words", "name: String should match pattern"),
        ("no_equals_sign", "--set takes FIELD=VALUE"),
        ("name.more=1", "--set name.more: name holds 'skiprank', not further fields"),
        ("name=[", "--set name: '[' is not a YAML value"),
    ],
)
def test_a_bad_value_gives_one_line_that_names_the_field(override, message):
    with pytest.raises(ConfigError) as error:
        load(DEMO, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not valid YAML"), ("- a", "must hold a mapping"), ("name: x", "data: Field required")],
)
def test_a_broken_file_is_named(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"cannot read the configuration nowhere.yaml: No such file"):
        load("nowhere.yaml")


def test_configurations_have_no_unused_folder_in_common():
    outputs = [yaml.safe_load(path.read_text())["output"] for path in CONFIGS]
    assert len(set(outputs)) == len(outputs), "two deployments would overwrite each other"
