"""Writes the play logs of a configuration whose users are simulated."""

from __future__ import annotations

from pathlib import Path

from pipeline.settings import Settings

#: Says which simulation wrote the folder.
STAMP = "simulation.json"


def prepare(settings: Settings) -> bool:
    """Simulates the logs into ``data.root`` unless they are there already. Returns whether it wrote them."""
    if settings.simulation is None:
        return False
    wanted = settings.simulation.model_dump_json(indent=1)
    stamp = Path(settings.data.root) / STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return False
    from simulation.logs import simulate, write

    write(simulate(settings.simulation), stamp.parent, settings.simulation.format)
    stamp.write_text(wanted, encoding="utf-8")
    return True
