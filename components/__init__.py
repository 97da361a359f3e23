"""The data side: custom TFX components and the pure functions inside them."""

import importlib.util
import os
import sys
import types

# TFX 1.21 and tensorflow-recommenders need Keras 2; TensorFlow reads this once, when it is first imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


class _NoSqlSlices:
    """Stands in for a class that newer tfx_bsl wheels do not carry."""

    def __init__(self, *_: object) -> None:
        raise ImportError("Slicing statistics by SQL needs tfx_bsl.arrow.sql_util, which this tfx_bsl does not have.")


def _let_data_validation_import() -> None:
    """Lets tensorflow-data-validation 1.16 run on tfx-bsl 1.21, whose wheel dropped ``arrow.sql_util``.

    The 1.21 wheel of tensorflow-data-validation, which no longer asks for that module, needs glibc 2.39. Only SQL
    slices, which skiprank does not use, need what is missing.
    """
    name = "tfx_bsl.arrow.sql_util"
    found = importlib.util.find_spec("tfx_bsl")
    if found is None or name in sys.modules:
        return
    for folder in found.submodule_search_locations or ():
        if os.path.exists(os.path.join(folder, "arrow", "sql_util.py")):
            return
    module = types.ModuleType(name)
    module.RecordBatchSQLSliceQuery = _NoSqlSlices  # type: ignore[attr-defined]
    sys.modules[name] = module


_let_data_validation_import()
