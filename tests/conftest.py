"""Set-up shared by all tests."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import model  # noqa: F401  (sets Keras 2 before anything imports TensorFlow)
