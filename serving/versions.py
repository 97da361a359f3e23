"""Which version folders of a model are served, and the words for where each of them stands."""

from __future__ import annotations

import dataclasses
import enum
import re
from pathlib import Path
from typing import Any, Literal

import grpc

#: What TF Serving reads as a version: a folder whose whole name is an integer.
_INTEGER = re.compile(r"-?\d+")


class State(enum.IntEnum):
    """The life of a version, numbered as in ``ModelVersionStatus.State``."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """Where one version stands.

    Attributes:
        state: Its state; END after it was unloaded or could not be loaded.
        error_code: OK unless loading failed.
        error_message: Why loading failed.
    """

    state: State
    error_code: grpc.StatusCode = grpc.StatusCode.OK
    error_message: str = ""


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Which of the version folders found are served.

    Attributes:
        kind: ``latest`` the highest numbers, ``all`` every one, ``specific`` the listed ones.
        count: How many, for ``latest``.
        versions: Which, for ``specific``.
    """

    kind: Literal["latest", "all", "specific"] = "latest"
    count: int = 1
    versions: tuple[int, ...] = ()

    @classmethod
    def latest(cls, count: int = 1) -> VersionPolicy:
        """The ``count`` highest version numbers."""
        if count < 1:
            raise ValueError(f"`count` must be at least 1. Received: count={count}.")
        return cls("latest", count)

    @classmethod
    def all(cls) -> VersionPolicy:
        """Every version in the folder."""
        return cls("all")

    @classmethod
    def specific(cls, *versions: int) -> VersionPolicy:
        """These versions and no others."""
        if not versions:
            raise ValueError("`versions` must name at least one version.")
        return cls("specific", versions=versions)

    @classmethod
    def from_proto(cls, proto: Any) -> VersionPolicy:
        """Reads ``FileSystemStoragePathSourceConfig.ServableVersionPolicy``; an unset policy is ``latest(1)``."""
        choice = proto.WhichOneof("policy_choice")
        if choice == "all":
            return cls.all()
        if choice == "specific":
            return cls("specific", versions=tuple(proto.specific.versions))
        return cls.latest(max(1, proto.latest.num_versions))

    def chosen(self, found: set[int]) -> set[int]:
        """The versions to serve among those found."""
        if self.kind == "all":
            return set(found)
        if self.kind == "specific":
            return found & set(self.versions)
        return set(sorted(found)[-self.count :])


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One served model.

    Attributes:
        name: The name that requests use.
        base_path: The folder of version folders.
        policy: Which versions are served.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()


def version_folders(base_path: Path) -> dict[int, Path]:
    """Version number -> folder, for every sub-folder whose name is an integer; other names are ignored.

    Raises:
        OSError: The folder does not exist or cannot be read.
    """
    return {int(p.name): p for p in sorted(base_path.iterdir()) if _INTEGER.fullmatch(p.name) and p.is_dir()}
