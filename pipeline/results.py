"""What a run leaves behind: folders, metrics, the gate's verdict, seconds per stage."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.features import FLAGS
from pipeline.settings import Settings

#: TFMA's names of the metrics, and ours.
METRICS = {"auc": "auc", "binary_crossentropy": "logloss", "calibration": "calibration"}


@dataclasses.dataclass(frozen=True)
class RunResult:
    """The outcome of a run.

    Attributes:
        examples: Folder of the raw sequence examples.
        model: Folder of the pushed model's versions, as TF Serving takes it; None where the gate refused the model.
        report: Folder of the report.
        metrics: By task: ``auc``, ``logloss`` and ``calibration`` (predicted ÷ actual) on play histories.
        blessed: Whether the gate let the model through.
        reasons: What the gate refused, one sentence each.
        counts: What became of the rows read.
        seconds: By stage.
    """

    examples: str
    model: str | None
    report: str
    metrics: dict[str, dict[str, float]]
    blessed: bool
    reasons: list[str]
    counts: dict[str, Any]
    seconds: dict[str, float]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))


def collect(settings: Settings, seconds: Mapping[str, float]) -> RunResult:
    """Reads the newest run's artifacts and writes the report."""
    import tensorflow_model_analysis as tfma

    output = Path(settings.output).absolute()
    artifacts = output / "artifacts"
    evaluation = _newest(artifacts / "Evaluator" / "evaluation")
    blessed = (_newest(artifacts / "Evaluator" / "blessing") / "BLESSED").exists()
    quarantine = _newest(artifacts / "PlaySequences" / "quarantine")
    result = RunResult(
        examples=str(_newest(artifacts / "PlaySequences" / "examples")),
        model=str(settings.pushed) if blessed else None,
        report=str(output / "report"),
        metrics=_metrics(tfma.load_eval_result(str(evaluation))),
        blessed=blessed,
        reasons=[] if blessed else _reasons(tfma.load_validation_result(str(evaluation))),
        counts=json.loads((quarantine / "counts.json").read_text(encoding="utf-8")),
        seconds={stage: round(s, 1) for stage, s in seconds.items()},
    )
    Path(result.report).mkdir(parents=True, exist_ok=True)
    (Path(result.report) / "report.json").write_text(result.to_json(), encoding="utf-8")
    (Path(result.report) / "report.md").write_text(report(settings, result), encoding="utf-8")
    return result


def _newest(folder: Path) -> Path:
    """The artifact of the newest execution; TFX names the folders by execution number."""
    return max(folder.iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else -1)


def _metrics(result: Any) -> dict[str, dict[str, float]]:
    overall = dict(result.slicing_metrics)[()]
    found: dict[str, dict[str, float]] = {}
    for flag in FLAGS:
        values = overall[flag][""]
        found[flag] = {ours: float(values[theirs]["doubleValue"]) for theirs, ours in METRICS.items()}
    return found


def _reasons(validation: Any) -> list[str]:
    reasons = []
    for by_slice in validation.metric_validations_per_slice:
        where = (
            ", ".join(f"{k.column} {k.bytes_value.decode()}" for k in by_slice.slice_key.single_slice_keys) or "overall"
        )
        for failure in by_slice.failures:
            key = failure.metric_key
            floor = failure.metric_threshold.value_threshold.lower_bound.value
            value = failure.metric_value.double_value.value
            reasons.append(f"{key.output_name} {key.name} {where} is {value:.4f}, and must exceed {floor:.4f}")
    return reasons or ["the Evaluator gave no reason"]


def report(settings: Settings, result: RunResult) -> str:
    """The report as Markdown."""
    lines = [f"# {settings.name}", "", "| task | AUC | logloss | predicted ÷ actual |", "|---|---|---|---|"]
    for flag, values in result.metrics.items():
        lines.append(f"| {flag} | {values['auc']:.4f} | {values['logloss']:.4f} | {values['calibration']:.3f} |")
    lines += ["", "Play protocol: every play's history reaches up to that play. Evaluated plays begin at "]
    lines[-1] += f"{settings.data.window.evaluate_from}."
    lines += ["", "The model was pushed." if result.blessed else "The model was refused:"]
    lines += [f"- {reason}" for reason in result.reasons]
    lines += ["", "| rows | count |", "|---|---|"]
    kinds = ("rows_read", "plays", "not_a_feed", "outside_window", "duplicates")
    lines += [f"| {kind} | {result.counts[kind]} |" for kind in kinds]
    lines += [f"| quarantined: {reason} | {count} |" for reason, count in result.counts["bad"].items()]
    lines += ["", "| stage | seconds |", "|---|---|"]
    lines += [f"| {stage} | {s} |" for stage, s in result.seconds.items()]
    return "\n".join([*lines, ""])
