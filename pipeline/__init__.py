"""The DAG, its settings, one runner per engine, and the command line."""

from pathlib import Path

import components as components  # sets up the environment before TensorFlow or TFX is imported

#: The configuration used where none is named.
DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
