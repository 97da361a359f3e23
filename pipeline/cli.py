"""The ``skiprank`` command. Heavy imports stay inside the commands, so that help and errors appear at once."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="skiprank",
    help="Rank short videos, and learn from what people skip.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"

Config = Annotated[Path, typer.Option("--config", help="Configuration file (YAML).", show_default="configs/demo.yaml")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a setting; dotted, repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
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


def _load(config: Path, overrides: list[str] | None) -> Any:
    from pipeline.settings import load

    return load(config, overrides or [])


def _quiet() -> None:
    """Keeps the libraries' start-up chatter off the terminal; set the variable yourself to see it."""
    import warnings

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


@app.command()
def run(config: Config = DEFAULT_CONFIG, set_: Set = None, as_json: Json = False) -> None:
    """Run the whole pipeline on this machine: play logs in, a pushed model out."""
    with _one_line_errors():
        _quiet()
        settings = _load(config, set_)
        from pipeline.local_runner import run as run_pipeline

        with _native_output_to(Path(settings.output) / "native.log"):
            result = run_pipeline(settings, _print_stage)
        _print_result(settings, result)
        if as_json:
            typer.echo(result.to_json())
        if not result.blessed:
            raise typer.Exit(2)


def _print_stage(stage: str, number: int, stages: int, seconds: float | None) -> None:
    start = f"[{number}/{stages}] {stage} "
    if seconds is not None:
        _stderr(f"{seconds:.1f} s" if _terminal() else f"{start}{seconds:.1f} s")
    elif _terminal():
        _stderr(start, end="")


def _terminal() -> bool:
    return sys.__stderr__ is not None and sys.__stderr__.isatty()


#: Where progress goes even while the libraries' own output is sent to a file.
_progress_stream: Any = None


def _stderr(text: str, end: str = "\n") -> None:
    print(text, end=end, file=_progress_stream or sys.stderr, flush=True)


@contextlib.contextmanager
def _native_output_to(path: Path) -> Iterator[None]:
    """Sends what C++ and subprocesses print to stdout and stderr into a file, and shows its end if the run fails."""
    global _progress_stream  # noqa: PLW0603
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with path.open("w") as file, os.fdopen(os.dup(2), "w") as progress:
        _progress_stream = progress
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            for descriptor in saved:
                os.close(descriptor)
            _progress_stream = None


def _print_result(settings: Any, result: Any) -> None:
    total = sum(result.seconds.values())
    typer.echo(f"\n{'task':<6}{'AUC':>8}{'logloss':>10}{'predicted/actual':>19}")
    for flag, values in result.metrics.items():
        typer.echo(f"{flag:<6}{values['auc']:>8.4f}{values['logloss']:>10.4f}{values['calibration']:>19.3f}")
    typer.echo(f"\n{len(result.seconds)} stages in {total:.0f} s; rows: {_short(result.counts)}")
    typer.echo(f"examples  {result.examples}\nreport    {result.report}")
    if result.blessed:
        typer.echo(f"model     {result.model}")
    else:
        typer.echo("The model was not pushed: " + "; ".join(result.reasons))
    typer.echo(f"logs      {Path(settings.output) / 'run.log'}")


def _short(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in counts.items() if isinstance(value, int) and value)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="Folder to write the logs into.")],
    config: Config = DEFAULT_CONFIG,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Write demo play logs of simulated users (the configuration's ``simulation`` section)."""
    with _one_line_errors():
        settings = _load(config, set_)
        from pipeline.settings import ConfigError
        from simulation.logs import simulate as simulate_logs
        from simulation.logs import write

        if settings.simulation is None:
            raise ConfigError(f"{config} has no simulation section; add one, or use configs/demo.yaml")
        logs = simulate_logs(settings.simulation)
        paths = write(logs, out)
        summary = {"out": str(out), "plays": logs.plays.num_rows, "users": logs.users.num_rows}
        summary |= {"videos": logs.videos.num_rows, "files": len(paths)}
        typer.echo(", ".join(f"{name} {value}" for name, value in summary.items()))
        if as_json:
            typer.echo(json.dumps(summary))


@app.command()
def serve(
    model: Annotated[Path, typer.Option("--model", help="Folder of version folders, as TF Serving takes it.")],
    port: Annotated[int, typer.Option(help="gRPC port; 0 takes a free one.")] = 8500,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    name: Annotated[str, typer.Option(help="Model name in requests.")] = "skiprank",
    as_json: Json = False,
) -> None:
    """Serve a pushed model by gRPC (the embedded server; TF Serving is for production)."""
    with _one_line_errors():
        _quiet()
        from serving.server import serve as start

        with start(model, port=port, name=name, host=host) as server:
            typer.echo(f"Serving {name} on {server.target}; stop with Ctrl-C.")
            if as_json:
                typer.echo(json.dumps({"target": server.target, "model": name}))
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
