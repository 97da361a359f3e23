"""The network and its training: one module per section of the paper."""

import os

# TFX 1.21 and tensorflow-recommenders need Keras 2; TensorFlow reads this once, when it is first imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
