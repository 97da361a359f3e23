"""A ranking request as typed, checked objects, and its JSON form.

The JSON layout (``RankRequest.from_json`` and ``to_json``; only what is marked is required)::

    {
      "user_id": "u17",                      required
      "request_time_ms": 1651000000000,      required, epoch milliseconds
      "platform": "1",                       the page or tab that asks
      "profile": {"user_active_degree": "high"},
      "history": [                           oldest first, all before request_time_ms
        {"video_id": "v3",                   required
         "time_ms": 1650999000000,           required
         "play_time_ms": 5400,               required
         "duration_ms": 12000,               required
         "platform": "1", "author_id": "a1", "category": "c2", "extra": {"music_id": "m9"}}
      ],
      "candidates": [                        at least one
        {"video_id": "v8",                   required
         "duration_ms": 9000,                required
         "author_id": "a4", "category": "c2", "extra": {}}
      ]
    }

``profile`` and ``extra`` hold the user and video columns that the model was configured with.
"""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

_MAX_INT64 = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Play:
    """One play of the user's history.

    Attributes:
        video_id: The video.
        time_ms: When it began, epoch milliseconds.
        play_time_ms: How long it was watched, milliseconds; 0 is a skip at once.
        duration_ms: The video's length, milliseconds; 0 where unknown.
        platform: The page or tab it was shown on.
        author_id: The video's author; '' where unknown.
        category: The video's category; '' where unknown.
        extra: Further video columns of the model.

    Raises:
        ValueError: An empty video id or a negative number. TypeError: a value of the wrong type.
    """

    video_id: str
    time_ms: int
    play_time_ms: int
    duration_ms: int
    platform: str = ""
    author_id: str = ""
    category: str = ""
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_fields(self, strings=("video_id", "platform", "author_id", "category"), mappings=("extra",))
        _check_numbers(self, ("time_ms", "play_time_ms", "duration_ms"))
        _check_not_empty(self, "video_id")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One video to rank.

    Attributes:
        video_id: The video.
        duration_ms: Its length, milliseconds; 0 where unknown.
        author_id: Its author; '' where unknown.
        category: Its category; '' where unknown.
        extra: Further video columns of the model.

    Raises:
        ValueError: An empty video id or a negative number. TypeError: a value of the wrong type.
    """

    video_id: str
    duration_ms: int
    author_id: str = ""
    category: str = ""
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_fields(self, strings=("video_id", "author_id", "category"), mappings=("extra",))
        _check_numbers(self, ("duration_ms",))
        _check_not_empty(self, "video_id")


@dataclasses.dataclass(frozen=True)
class RankRequest:
    """Which of the candidates should this user see first?

    Attributes:
        user_id: The user; any id that the model has not seen stands for an unknown user.
        request_time_ms: Now, epoch milliseconds.
        candidates: The videos to rank, at least one.
        history: The user's plays, oldest first, all before the request; may be empty.
        platform: The page or tab that asks.
        profile: User columns of the model.

    Raises:
        ValueError: An empty id, a negative number, no candidate, or a history that is out of order or not over yet.
        TypeError: A value of the wrong type.
    """

    user_id: str
    request_time_ms: int
    candidates: Sequence[Candidate]
    history: Sequence[Play] = ()
    platform: str = ""
    profile: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_fields(self, strings=("user_id", "platform"), mappings=("profile",))
        _check_numbers(self, ("request_time_ms",))
        _check_not_empty(self, "user_id")
        object.__setattr__(self, "candidates", _checked_items(self.candidates, "candidates", Candidate))
        object.__setattr__(self, "history", _checked_items(self.history, "history", Play))
        if not self.candidates:
            raise ValueError("`candidates` must hold at least one video. Received: none.")
        before = -1
        for index, play in enumerate(self.history):
            if play.time_ms < before:
                raise ValueError(
                    f"`history` must be oldest first. Received: history[{index}].time_ms={play.time_ms} after {before}."
                )
            before = play.time_ms
        if before >= self.request_time_ms:
            raise ValueError(
                f"`history` must lie before the request. Received: history[{len(self.history) - 1}].time_ms={before}, "
                f"request_time_ms={self.request_time_ms}."
            )

    @classmethod
    def from_json(cls, text: str | bytes) -> RankRequest:
        """Reads the JSON layout of this module's docstring.

        Raises:
            ValueError: Not JSON, an unknown or missing key (named with its place), or a value that is refused above.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(f"The request is not valid JSON: {error}.") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RankRequest:
        """The same from parsed JSON."""
        values = _checked_keys(cls, data, "request")
        values["history"] = _items(Play, values.get("history", []), "history")
        values["candidates"] = _items(Candidate, values["candidates"], "candidates")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from error

    def to_dict(self) -> dict[str, Any]:
        """The request as plain dicts and lists."""
        return {
            "user_id": self.user_id,
            "request_time_ms": self.request_time_ms,
            "platform": self.platform,
            "profile": dict(self.profile),
            "history": [_plain(play) for play in self.history],
            "candidates": [_plain(candidate) for candidate in self.candidates],
        }

    def to_json(self, indent: int | None = None) -> str:
        """The JSON layout of this module's docstring; ``from_json`` reads it back to an equal request."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)


_Item = TypeVar("_Item", Play, Candidate)


def _items(item_type: type[_Item], data: Any, field: str) -> list[_Item]:
    if not isinstance(data, list):
        raise ValueError(f"`{field}` must be a list. Received: {data!r}.")
    return [_item(item_type, item, f"{field}[{index}]") for index, item in enumerate(data)]


def _item(item_type: type[_Item], data: Any, place: str) -> _Item:
    values = _checked_keys(item_type, data, place)
    try:
        return item_type(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error


def _plain(item: Play | Candidate) -> dict[str, Any]:
    values = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return {**values, "extra": dict(item.extra)}


def _checked_keys(of: type[Any], data: Any, place: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"`{place}` must be a JSON object. Received: {data!r}.")
    fields = {field.name: field for field in dataclasses.fields(of)}
    for key in data:
        if key not in fields:
            raise ValueError(f"`{place}` has the unknown key {key!r}; the known ones are {', '.join(fields)}.")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise ValueError(f"`{place}` lacks the key {name!r}.")
    return dict(data)


def _check_fields(item: Any, strings: Sequence[str], mappings: Sequence[str]) -> None:
    for name in strings:
        value = getattr(item, name)
        if not isinstance(value, str):
            raise TypeError(f"`{name}` must be a string. Received: {name}={value!r}.")
    for name in mappings:
        value = getattr(item, name)
        if not isinstance(value, Mapping):
            raise TypeError(f"`{name}` must map column names to strings. Received: {name}={value!r}.")
        for key, text in value.items():
            if not isinstance(key, str) or not isinstance(text, str):
                raise TypeError(f"`{name}` must map column names to strings. Received: {name}[{key!r}]={text!r}.")


def _check_numbers(item: Any, names: Sequence[str]) -> None:
    for name in names:
        value = getattr(item, name)
        try:
            # numpy's integers pass and become Python's; floats and strings do not pass, nor True and False.
            number = operator.index(value) if not isinstance(value, bool) else None
        except TypeError:
            number = None
        if number is None:
            raise TypeError(f"`{name}` must be an integer. Received: {name}={value!r}.")
        if not 0 <= number <= _MAX_INT64:
            raise ValueError(f"`{name}` must not be negative, nor beyond int64. Received: {name}={number}.")
        object.__setattr__(item, name, number)


def _check_not_empty(item: Any, name: str) -> None:
    if not getattr(item, name):
        raise ValueError(f"`{name}` must not be empty. Received: {name}=''.")


def _checked_items(items: Any, name: str, item_type: type[_Item]) -> tuple[_Item, ...]:
    for index, item in enumerate(items):
        if not isinstance(item, item_type):
            raise TypeError(f"`{name}[{index}]` must be a {item_type.__name__}. Received: {item!r}.")
    return tuple(items)
