"""The Flink side that is tested, documented and installed is one and the same."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_runner_has_the_version_of_the_locked_beam():
    pom = (ROOT / "tests" / "flink" / "java" / "pom.xml").read_text(encoding="utf-8")
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    (beam,) = re.findall(r"^apache-beam(?:\[.*\])?==(\S+)", lock, re.M)
    (flink,) = re.findall(r"<flink.version>(.*)</flink.version>", pom)
    assert re.findall(r"<beam.version>(.*)</beam.version>", pom) == [beam]
    assert re.findall(r"beam-runners-flink-([0-9.]+)<", pom) == [flink.rpartition(".")[0]]
    page = (ROOT / "docs" / "flink.md").read_text(encoding="utf-8")
    assert f"apache-beam {beam}" in page and f"Flink {flink.rpartition('.')[0]}" in page
