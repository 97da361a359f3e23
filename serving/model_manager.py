"""Keeps the right versions of the right models loaded, and hands them to requests.

One background thread looks at the folders and does all loading and unloading, off the request path. A new version is
loaded and warmed up before an old one is dropped, and an old session closes only when its last request is done.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from serving.errors import ServingError, StatusError, invalid_argument
from serving.loaded_model import LoadedModel
from serving.versions import ModelConfig, State, VersionStatus, version_folders
from serving.warmup import replay_warmup

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class _Model:
    """What the manager knows about one model name."""

    config: ModelConfig
    loaded: dict[int, LoadedModel] = dataclasses.field(default_factory=dict)
    states: dict[int, VersionStatus] = dataclasses.field(default_factory=dict)

    @property
    def failed(self) -> set[int]:
        """Versions that could not be loaded; they are not tried again while their folder stays."""
        return {v for v, status in self.states.items() if status.error_code is not grpc.StatusCode.OK}


class ModelManager:
    """Loaded versions by model name.

    Args:
        poll_s: Seconds between two looks at the folders.
        load_retries: How often a failed load is tried again.
        load_retry_s: Seconds before each retry.
        load: Makes a LoadedModel from name, version and folder.
    """

    def __init__(
        self,
        *,
        poll_s: float,
        load_retries: int,
        load_retry_s: float,
        load: Callable[[str, int, Path], LoadedModel],
    ) -> None:
        self._poll_s = poll_s
        self._load_retries = load_retries
        self._load_retry_s = load_retry_s
        self._load = load
        self._models: dict[str, _Model] = {}
        self._dropped: list[_Model] = []
        self._labels: dict[str, dict[str, int]] = {}
        self._changed = threading.Condition()
        self._reloading = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="skiprank-model-manager", daemon=True)

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self, configs: Sequence[ModelConfig]) -> None:
        """Loads the configured models, then watches their folders in the background.

        Raises:
            ServingError: A model has no version that can be loaded.
        """
        self._set_configs(configs)
        self._poll()
        for name, model in self._models.items():
            if not model.loaded:
                raise ServingError(_why_unavailable(name, model))
        self._thread.start()

    def stop(self) -> None:
        """Stops watching and closes every session once its requests are done."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._changed:
            models = [*self._models.values(), *self._dropped]
            self._models, self._dropped = {}, []
        for model in models:
            for loaded in model.loaded.values():
                loaded.retire()

    # --- requests -----------------------------------------------------------------------------------------------------

    def acquire(self, spec: Any) -> LoadedModel:
        """The version that a ModelSpec asks for, counted in use: the caller must release it.

        Raises:
            StatusError: No such model, version or label.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        with self._changed:
            model = self._models.get(spec.name)
            loaded = model.loaded if model else {}
            if choice is None:
                asked, version = f"Latest({spec.name})", max(loaded, default=None)
            else:
                version = spec.version.value if choice == "version" else self._labelled(spec.name, spec.version_label)
                asked = f"Specific({spec.name}, {version})"
            if version is None or version not in loaded:
                raise StatusError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
            loaded[version].acquire()
            return loaded[version]

    def statuses(self, spec: Any) -> list[tuple[int, VersionStatus]]:
        """Version and status, newest first, of what a ModelSpec asks for.

        Raises:
            StatusError: Nothing is known of it.
        """
        choice = spec.WhichOneof("version_choice")
        with self._changed:
            model = self._models.get(spec.name)
            states = dict(model.states) if model else {}
            if choice is None:
                if not states:
                    message = f"Could not find any versions of model {spec.name}"
                    raise StatusError(grpc.StatusCode.NOT_FOUND, message)
                return sorted(states.items(), reverse=True)
            version = spec.version.value if choice == "version" else self._labelled(spec.name, spec.version_label)
            if version not in states:
                message = f"Could not find version {version} of model {spec.name}"
                raise StatusError(grpc.StatusCode.NOT_FOUND, message)
            return [(version, states[version])]

    def _labelled(self, name: str, label: str) -> int:
        try:
            return self._labels[name][label]
        except KeyError:
            raise invalid_argument(f"Unrecognized servable version label: {label}") from None

    # --- configuration ------------------------------------------------------------------------------------------------

    def reload(self, configs: Sequence[ModelConfig], labels: Mapping[str, Mapping[str, int]]) -> None:
        """Takes a new list of models: drops those left out, waits for the new ones, then moves the labels.

        Models that stay are brought in line with their new policy in the background, as TF Serving does; a label can
        therefore only move to a version that is available already.

        Raises:
            StatusError: A new model has no version that can be loaded, or a label points at a version that is not
                available (the old labels then stay).
        """
        with self._reloading:  # one after another, each seen through
            self._reload(configs, labels)

    def _reload(self, configs: Sequence[ModelConfig], labels: Mapping[str, Mapping[str, int]]) -> None:
        with self._changed:
            new = [config.name for config in configs if config.name not in self._models]
        for config in configs:
            if config.name in new and not config.base_path.is_dir():
                raise invalid_argument(f"Could not find base path {config.base_path} for servable {config.name}")
        self._set_configs(configs)
        self._wake.set()
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or all(self._settled(name) for name in new))
            missing = [name for name in new if name not in self._models or not self._models[name].loaded]
        if missing:
            message = f"Some models did not become available: {{{', '.join(missing)}}}"
            raise StatusError(grpc.StatusCode.UNKNOWN, message)
        self.set_labels(labels)

    def set_labels(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        """Replaces all labels: model name -> label -> version.

        Raises:
            StatusError: FAILED_PRECONDITION where a version is not available.
        """
        with self._changed:
            for name, by_label in labels.items():
                for version in by_label.values():
                    if name not in self._models or version not in self._models[name].loaded:
                        raise StatusError(
                            grpc.StatusCode.FAILED_PRECONDITION,
                            f"Request to assign label to version {version} of model {name}, which is not currently "
                            "available for inference",
                        )
            self._labels = {name: dict(by_label) for name, by_label in labels.items()}

    def _set_configs(self, configs: Sequence[ModelConfig]) -> None:
        with self._changed:
            models = {}
            for config in configs:
                known = self._models.pop(config.name) if config.name in self._models else _Model(config)
                known.config = config
                models[config.name] = known
            self._dropped.extend(self._models.values())
            self._models = models

    def _settled(self, name: str) -> bool:
        """Whether a model is available, or will not become so (no folder to load, or every load failed)."""
        model = self._models.get(name)
        if model is None or model.loaded:
            return True
        try:
            chosen = model.config.policy.chosen(set(version_folders(model.config.base_path)))
        except OSError:
            return True
        return chosen <= model.failed

    # --- watching the folders -----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._poll_s)
            self._wake.clear()
            if not self._stopping.is_set():
                try:
                    self._poll()
                except Exception:
                    # The thread must outlive whatever a folder or a model does; the next poll tries again.
                    logger.exception("Looking at the model folders failed.")

    def _poll(self) -> None:
        with self._changed:
            models = list(self._models.items())
            dropped, self._dropped = self._dropped, []
        for model in dropped:
            for version in list(model.loaded):
                self._unload(model, version)
        for name, model in models:
            self._bring_in_line(name, model)
        with self._changed:
            self._changed.notify_all()

    def _bring_in_line(self, name: str, model: _Model) -> None:
        try:
            folders = version_folders(model.config.base_path)
        except OSError as error:
            # A folder that is away for a moment (a remounted disk) must not empty the server.
            logger.warning("The folder of model %s cannot be read: %s", name, error)
            return
        with self._changed:
            for version in model.failed - set(folders):
                del model.states[version]
            chosen = model.config.policy.chosen(set(folders))
            to_load = sorted(chosen - set(model.loaded) - model.failed, reverse=True)
        for version in to_load:
            self._load_with_retries(name, model, version, folders[version])
        if chosen and not chosen & set(model.loaded):
            return  # what is loaded stays until one of the chosen versions is available
        for version in sorted(set(model.loaded) - chosen):
            self._unload(model, version)

    def _load_with_retries(self, name: str, model: _Model, version: int, folder: Path) -> None:
        self._set_state(model, version, VersionStatus(State.LOADING))
        for attempt in range(self._load_retries + 1):
            started = time.monotonic()
            try:
                loaded = self._load_and_warm(name, version, folder)
            except Exception as error:  # whatever it is, it concerns this version only
                logger.error(
                    "Loading version %d of model %s failed (attempt %d): %s", version, name, attempt + 1, error
                )
                code = error.code if isinstance(error, StatusError) else grpc.StatusCode.UNKNOWN
                failure = VersionStatus(State.END, code, str(error))
                if self._stopping.wait(self._load_retry_s if attempt < self._load_retries else 0):
                    break
                continue
            with self._changed:
                model.loaded[version] = loaded
                model.states[version] = VersionStatus(State.AVAILABLE)
                self._changed.notify_all()
            logger.info("Serving version %d of model %s after %.1f s.", version, name, time.monotonic() - started)
            return
        self._set_state(model, version, failure)

    def _load_and_warm(self, name: str, version: int, folder: Path) -> LoadedModel:
        loaded = self._load(name, version, folder)
        try:
            count = replay_warmup(loaded)
        except BaseException:
            loaded.retire()
            raise
        logger.info("Version %d of model %s ran %d warm-up requests.", version, name, count)
        return loaded

    def _unload(self, model: _Model, version: int) -> None:
        with self._changed:
            loaded = model.loaded.pop(version)
            model.states[version] = VersionStatus(State.UNLOADING)
        loaded.retire()
        self._set_state(model, version, VersionStatus(State.END))
        logger.info("Dropped version %d of model %s.", version, loaded.name)

    def _set_state(self, model: _Model, version: int, status: VersionStatus) -> None:
        with self._changed:
            model.states[version] = status
            self._changed.notify_all()


def _why_unavailable(name: str, model: _Model) -> str:
    failures = [status.error_message for status in model.states.values() if status.error_message]
    if failures:
        return f"model {name} cannot be served: {failures[0]}"
    policy = model.config.policy
    wanted = f" among {list(policy.versions)}" if policy.kind == "specific" else ""
    return (
        f"{model.config.base_path} holds no version of model {name}{wanted}: a version is a folder whose name is an "
        "integer, such as 1/."
    )
