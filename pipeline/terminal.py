"""What the command shows, and what it keeps off the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import typer


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns errors that a user can mend into one line on stderr and exit status 1; others keep their traceback."""
    try:
        yield
    except Exception as error:
        line = _user_message(error)
        if line is None:
            raise
        typer.echo(f"skiprank: {line}", err=True)
        raise typer.Exit(1) from None


def _user_message(error: BaseException | None) -> str | None:
    """The message of the error, or of one it was raised from, that is meant for the user."""
    from components.play_log.errors import InputError
    from pipeline.settings import ConfigError
    from serving.errors import ServingError

    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, InputError | ConfigError | ServingError | FileExistsError | PermissionError):
            return " ".join(str(error).split())
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def quiet() -> None:
    """Keeps the libraries' chatter off the terminal. Set TF_CPP_MIN_LOG_LEVEL yourself to see TensorFlow's."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger().setLevel(logging.ERROR)
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        # TensorFlow writes some lines before it has read the variable.
        with native_output_to(Path(os.devnull)):
            import tensorflow  # noqa: F401


@contextlib.contextmanager
def native_output_to(path: Path) -> Iterator[TextIO]:
    """Sends all that is printed, by C++ and by subprocesses too, into a file; yields what still writes to stderr."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with path.open("w", encoding="utf-8") as file, os.fdopen(os.dup(2), "w") as stderr:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield stderr
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, place in zip(saved, (1, 2), strict=True):
                os.dup2(descriptor, place)
                os.close(descriptor)


class StageLines:
    """Shows each stage of a run and its seconds, one line each."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __call__(self, stage: str, number: int, stages: int, seconds: float | None) -> None:
        """Called when a stage starts (no seconds yet) and when it ends."""
        start = f"[{number}/{stages}] {stage} "
        if seconds is None:
            text = start if self._stream.isatty() else ""
        else:
            text = f"{seconds:.1f} s\n" if self._stream.isatty() else f"{start}{seconds:.1f} s\n"
        print(text, end="", file=self._stream, flush=True)


def show_result(result: Any, log: Path) -> None:
    """Prints the metrics, what became of the rows, and where everything lies.

    Args:
        result: A ``pipeline.results.RunResult``.
        log: What the libraries logged.
    """
    typer.echo(f"\n{'task':<6}{'AUC':>8}{'logloss':>10}{'predicted/actual':>19}")
    for flag, values in result.metrics.items():
        typer.echo(f"{flag:<6}{values['auc']:>8.4f}{values['logloss']:>10.4f}{values['calibration']:>19.3f}")
    typer.echo(f"\n{len(result.seconds)} stages in {sum(result.seconds.values()):.0f} s; {_rows(result.counts)}")
    typer.echo(f"examples  {result.examples}\nreport    {result.report}")
    if result.blessed:
        typer.echo(f"model     {result.model}")
    else:
        typer.echo("The model was not pushed: " + "; ".join(result.reasons))
    typer.echo(f"logs      {log}")


def _rows(counts: dict[str, Any]) -> str:
    """What became of the rows read, in words."""
    parts = [
        (counts["plays"], "plays"),
        (counts["not_a_feed"], "on other platforms"),
        (counts["outside_window"], "outside the window"),
        (counts["duplicates"], "repeated deliveries"),
        (sum(counts["bad"].values()), "in quarantine"),
    ]
    return f"{counts['rows_read']:,} rows: " + ", ".join(f"{n:,} {what}" for n, what in parts if n)
