"""The ``skiprank`` command. Heavy imports stay inside the commands, so that help and errors appear at once."""

from __future__ import annotations

import contextlib
import enum
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import DEFAULT_CONFIG
from pipeline.terminal import StageLines, native_output_to, one_line_errors, quiet, show_result

app = typer.Typer(
    name="skiprank",
    help="Rank short videos, and learn from what people skip.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[Path, typer.Option("--config", help="Configuration file (YAML).", show_default="configs/demo.yaml")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a setting; dotted, repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


def _load(config: Path, overrides: list[str] | None) -> Any:
    from pipeline.settings import load

    return load(config, overrides or [])


@app.command()
def run(config: Config = DEFAULT_CONFIG, set_: Set = None, as_json: Json = False) -> None:
    """Run the whole pipeline on this machine: play logs in, a pushed model out."""
    with one_line_errors():
        settings = _load(config, set_)
        quiet()
        from pipeline.local_runner import run as run_pipeline

        output = Path(settings.output)
        with native_output_to(output / "native.log") as stderr:
            result = run_pipeline(settings, StageLines(stderr))
        show_result(result, output / "run.log")
        if as_json:
            typer.echo(result.to_json())
        if not result.blessed:
            raise typer.Exit(2)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="Folder to write the logs into.")],
    config: Config = DEFAULT_CONFIG,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Write demo play logs of simulated users (the configuration's ``simulation`` section)."""
    with one_line_errors():
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
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of version folders, as TF Serving takes it; by default what the run pushed."),
    ] = None,
    port: Annotated[int, typer.Option(help="gRPC port; 0 takes a free one.")] = 8500,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    name: Annotated[str, typer.Option(help="Model name in requests.")] = "skiprank",
    config: Config = DEFAULT_CONFIG,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Serve a pushed model by gRPC (the embedded server; TF Serving is for production)."""
    with one_line_errors():
        folder = model or _load(config, set_).pushed
        quiet()
        from serving.server import serve as start

        with start(folder, port=port, name=name, host=host) as server:
            typer.echo(f"{server.banner}\nServing {name} on {server.target}; stop with Ctrl-C.")
            if as_json:
                typer.echo(json.dumps({"target": server.target, "model": name}))
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()


@app.command()
def rank(
    target: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="A running server.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Instead of a target: serve this folder of versions for this one request.")
    ] = None,
    name: Annotated[str, typer.Option(help="Model name on the server.")] = "skiprank",
    request: Annotated[Path | None, typer.Option(help="A request as JSON; else one is made from the log.")] = None,
    user: Annotated[str | None, typer.Option(help="User of the log; by default the one with the most plays.")] = None,
    at: Annotated[str | None, typer.Option(help="Time of the request: a date or ms; by default the log's end.")] = None,
    videos: Annotated[str | None, typer.Option(help="Candidates, comma-separated; by default the most played.")] = None,
    candidates: Annotated[int, typer.Option(min=1, help="How many of the most played.")] = 100,
    platform: Annotated[str | None, typer.Option(help="Page that asks; by default that of the last play.")] = None,
    weights: Annotated[str | None, typer.Option(help="Fusion weights evv,fvv,gvv instead of the model's.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows of the table.")] = 10,
    config: Config = DEFAULT_CONFIG,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Rank videos for one user through gRPC, and show the list."""
    with one_line_errors():
        from pipeline.settings import ConfigError

        if (target is None) == (model is None):
            raise ConfigError("give either --target HOST:PORT or --model DIR")
        quiet()
        ask = _request(config, set_, request, user, at, videos, candidates, platform)
        gamma = _weights(weights)
        from serving.client import RankingClient
        from serving.server import serve as start
        from serving.table import print_table

        with contextlib.ExitStack() as stack:
            if model is not None:
                target = stack.enter_context(start(model, port=0, name=name)).target
            client = stack.enter_context(RankingClient(str(target), model=name))
            response = client.rank(ask, weights=gamma)
        typer.echo(
            f"User {ask.user_id}, {len(ask.history)} plays of history, {len(ask.candidates)} candidates; "
            f"model version {response.version}"
        )
        print_table(response, top=top)
        if as_json:
            typer.echo(json.dumps({"user_id": ask.user_id, "version": response.version,
                                   "videos": response.to_frame().to_dict("records")}))  # fmt: skip


def _request(
    config: Path, overrides: list[str] | None, path: Path | None, user: str | None, at: str | None, videos: str | None,
    candidates: int, platform: str | None,
) -> Any:  # fmt: skip
    """The request of a JSON file, or one made from the log."""
    from pipeline.settings import ConfigError

    if path is not None:
        from serving.request import RankRequest

        try:
            return RankRequest.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"--request {path}: {error}") from error
    settings = _load(config, overrides)
    from pipeline.ranking import Ask, request_of

    at_ms = settings.data.window_ms[2] if at is None else _moment(at, settings.data.time_zone, "--at")
    chosen = tuple(v.strip() for v in videos.split(",")) if videos else ()
    return request_of(settings, Ask(user, at_ms, chosen, candidates, platform))


def _weights(text: str | None) -> tuple[float, float, float] | None:
    from pipeline.settings import ConfigError

    if text is None:
        return None
    try:
        evv, fvv, gvv = (float(x) for x in text.split(","))
    except ValueError:
        raise ConfigError(f"--weights takes three numbers: evv,fvv,gvv. Received: {text!r}") from None
    return evv, fvv, gvv


def _moment(text: str, time_zone: str, option: str) -> int:
    """Epoch milliseconds of a date or of milliseconds written out."""
    import datetime

    from components.settings import to_epoch_ms
    from pipeline.settings import ConfigError

    try:
        value = int(text) if text.isdigit() else datetime.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} takes a date (2022-05-04) or epoch milliseconds. Received: {text!r}") from None
    return to_epoch_ms(value, time_zone)


class Protocol(enum.StrEnum):
    """What a play's history holds when it is scored."""

    PLAY = "play"
    WINDOW = "window"


@app.command()
def score(
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    model: Annotated[
        Path | None,
        typer.Option(help="A SavedModel, or a folder of versions; by default what the run pushed."),
    ] = None,
    plays: Annotated[list[str] | None, typer.Option(help="Play logs (globs); by default the configuration's.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="First time scored: a date or ms.")] = None,
    to: Annotated[str | None, typer.Option(help="End, exclusive: a date or ms.")] = None,
    history: Annotated[Protocol, typer.Option(help="play: up to each play; window: frozen at --from.")] = Protocol.PLAY,
    config: Config = DEFAULT_CONFIG,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Score the plays of a log in bulk: one row per play with evv, fvv, gvv and the fused score."""
    with one_line_errors():
        settings = _load(config, set_)
        quiet()
        from pipeline.scoring import score as score_plays

        zone, window = settings.data.time_zone, settings.data.window_ms
        start = window[1] if from_ is None else _moment(from_, zone, "--from")
        end = window[2] if to is None else _moment(to, zone, "--to")
        files = plays or settings.data.plays.files
        rows = score_plays(settings, model or settings.pushed, files, out, start, end, history.value)
        typer.echo(f"Scored {rows} plays into {out}")
        if as_json:
            typer.echo(json.dumps({"plays": rows, "out": str(out), "from_ms": start, "to_ms": end}))


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
