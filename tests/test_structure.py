"""The layout's promises: which way imports point, what stays light, what is locked."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("pipeline", "components", "model", "serving", "simulation")

#: What each room may import of the others (and of TFX); the design's "Dependencies point one way".
ALLOWED = {
    "pipeline": {"components", "model", "serving", "simulation", "tfx"},
    "components": {"tfx"},
    "model": {"components"},
    "serving": set(),
    "simulation": {"components"},
}
#: The parts of ``components`` that other rooms than the pipeline may know: pure declarations and functions.
OPEN = {"components.features", "components.settings", "components.watch_time_quantiles.table"}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room):
    for path in (ROOT / room).rglob("*.py"):
        for name in imports(path):
            top = name.split(".")[0]
            if top in {*ROOMS, "tfx"} and top != room:
                assert top in ALLOWED[room], f"{path.relative_to(ROOT)} imports {name}"
                if top == "components" and room != "pipeline":
                    assert name in OPEN, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("path", [p for room in ROOMS for p in (ROOT / room).rglob("*.py")], ids=str)
def test_modules_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_help_does_not_load_the_heavy_libraries():
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom pipeline.cli import app\n"
        "assert CliRunner().invoke(app, ['run', '--help']).exit_code == 0\n"
        "heavy = {'tensorflow', 'tfx', 'apache_beam', 'pyarrow', 'pandas', 'grpc'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_lock_covers_the_requirements_and_names_no_index():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "--index" not in lock and "://" not in lock
    locked = {
        re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[.*\])?==", lock, re.M)
    }
    wanted = re.findall(r"^([A-Za-z0-9_.-]+)", (ROOT / "requirements.in").read_text(encoding="utf-8"), re.M)
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in wanted} <= locked


def test_keras_2_is_chosen_before_tensorflow_loads():
    script = (
        "import model, tensorflow as tf\n"
        "assert 'tf_keras' in tf.keras.layers.Layer.__module__, tf.keras.layers.Layer.__module__\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
