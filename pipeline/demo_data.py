"""Writes the play logs of a configuration whose users are simulated."""

from __future__ import annotations

from pathlib import Path

from pipeline.settings import ConfigError, Settings

#: Says which simulation wrote the folder.
STAMP = "simulation.json"


def prepare(settings: Settings) -> bool:
    """Simulates the logs into ``data.root`` unless they are there already. Returns whether it wrote them.

    Raises:
        ConfigError: If the folder holds files that no simulation wrote.
    """
    if settings.simulation is None:
        return False
    folder = Path(settings.data.root)
    wanted = settings.simulation.model_dump_json(indent=1)
    stamp = folder / STAMP
    if stamp.exists():
        if stamp.read_text(encoding="utf-8") == wanted:
            return False
        for old in [*folder.glob("plays_*"), *folder.glob("users.*"), *folder.glob("videos.*")]:
            old.unlink()
    elif folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"data.root {folder} holds files that no simulation wrote; choose another folder for simulated logs, or "
            "remove the simulation section to use these files"
        )
    from simulation.logs import simulate, write

    write(simulate(settings.simulation), folder)
    stamp.write_text(wanted, encoding="utf-8")
    return True
