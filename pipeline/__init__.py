"""The DAG, its settings, one runner per engine, and the command line."""

import components as components  # sets up the environment before TensorFlow or TFX is imported
