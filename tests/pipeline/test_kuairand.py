"""The whole pipeline on real plays: what a new user's first run on KuaiRand-Pure must reach."""

import json
import os
from pathlib import Path

import pytest

pytestmark = [pytest.mark.pipeline, pytest.mark.realdata]
ROOT = Path(__file__).resolve().parents[2]
LOGS = Path(os.environ.get("SKIPRANK_DATA", ROOT.parent / "shared" / "data")) / "KuaiRand-Pure" / "data"


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"the KuaiRand-Pure excerpt is not at {LOGS} (SKIPRANK_DATA names it)")
def test_auc_on_real_plays(cli, tmp_path):
    """Trained on days to 3 May, judged on 4-5 May, play protocol."""
    config = str(ROOT / "configs" / "kuairand.yaml")
    done = cli("run", "--config", config, "--set", f"data.root={LOGS}", "--set", f"output={tmp_path}", "--json")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["blessed"]
    assert result["counts"]["plays"] == 158_950  # 131,883 + 27,067: feeds only, repeated deliveries dropped
    auc = {flag: values["auc"] for flag, values in result["metrics"].items()}
    assert auc["evv"] >= 0.635 and auc["fvv"] >= 0.635 and auc["gvv"] >= 0.67, auc
