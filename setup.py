"""Packaging of skiprank. Beam workers and containers install the project through this file."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="skiprank",
    version="0.1.0",
    description="A short-video ranking pipeline that learns from what people skip.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=["pipeline*", "components*", "model*", "serving*", "simulation*"]),
    entry_points={"console_scripts": ["skiprank=pipeline.cli:main"]},
)
