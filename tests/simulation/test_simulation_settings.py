"""Settings refuse what makes no sense, and each of them does something."""

import datetime

import pydantic
import pytest

from simulation.logs import deliveries, simulate
from simulation.settings import Behaviour, Exposure, Platform, Simulation

#: Another value for every setting; a platform's stand for those of "featured".
CHANGES = {
    "": {
        "seed": 4,
        "num_users": 50,
        "num_videos": 90,
        "num_authors": 21,
        "num_categories": 5,
        "num_music": 21,
        "num_plays": 1_000,
        "latent_dims": 3,
        "first_day": datetime.date(2024, 3, 5),
        "days": 2,
        "time_zone": "Europe/Paris",
        "zipf_exponent": 1.0,
        "duplicate_fraction": 0.1,
        "bad_row_fraction": 0.1,
    },
    "behaviour": {
        "glance_bias": 0.0,
        "taste_strength": 0.0,
        "craving_strength": 0.0,
        "mood_strength": 0.0,
        "fatigue_strength": 0.0,
        "loyalty_strength": 0.0,
        "return_strength": 3.0,
        "mood_memory_plays": 2.0,
        "mood_memory_hours": 1.0,
    },
    "exposure": {
        "num_candidates": 4,
        "exploration": 0.9,
        "freshness_boost": 50.0,
        "freshness_days": 0.1,
        "taste_weight": 5.0,
    },
    "platforms": {
        "share": 20.0,
        "session_plays": 4.0,
        "glance_shift": 2.0,
        "followed_share": 0.5,
        "two_column": True,
    },
}


def changed(settings, group, field, value):
    if not group:
        return settings.model_copy(update={field: value})
    if group == "platforms":
        page = settings.platforms["featured"].model_copy(update={field: value})
        return settings.model_copy(update={"platforms": settings.platforms | {"featured": page}})
    part = getattr(settings, group).model_copy(update={field: value})
    return settings.model_copy(update={group: part})


def files(settings):
    logs = simulate(settings)
    return [logs.users, logs.videos, *(table for _, table in deliveries(logs))]


@pytest.fixture(scope="module")
def usual(tiny):
    return files(tiny)


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [(group, field, value) for group, fields in CHANGES.items() for field, value in fields.items()],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_every_setting_changes_the_log(tiny, usual, group, field, value):
    assert files(changed(tiny, group, field, value)) != usual


def test_the_opening_bias_decides_how_many_covers_are_opened(tiny):
    def unopened(bias):
        page = Platform(share=1, session_plays=10, two_column=True, opening_bias=bias)
        logs = simulate(tiny.model_copy(update={"platforms": {"discover": page}}))
        return (logs.plays["play_time_ms"].to_numpy() == 0).mean()

    assert unopened(-3) > 0.7 > 0.3 > unopened(3)


def test_no_setting_is_left_out_above():
    fields = {
        "": set(Simulation.model_fields) - {"platforms", "behaviour", "exposure", "format"},  # format: see write
        "behaviour": set(Behaviour.model_fields),
        "exposure": set(Exposure.model_fields),
        "platforms": set(Platform.model_fields) - {"opening_bias"},
    }
    assert {group: set(values) for group, values in CHANGES.items()} == fields


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"num_users": 0}, "num_users"),
        ({"platforms": {}}, "platforms"),
        ({"time_zone": "Mars/Base"}, "time_zone"),
        ({"format": "json"}, "format"),
        ({"behaviour": {"moods": 1}}, "behaviour.moods"),
        ({"platforms": {"featured": {"share": -1, "session_plays": 10}}}, "platforms.featured.share"),
        ({"duplicate_fraction": 1.5}, "duplicate_fraction"),
        ({"num_plays": 10_000, "num_users": 10, "days": 2}, "num_plays"),
    ],
)
def test_bad_settings_are_refused_by_name(bad, field):
    with pytest.raises(pydantic.ValidationError) as error:
        Simulation.model_validate(bad)
    places = [".".join(str(part) for part in e["loc"]) for e in error.value.errors()]
    assert field in places or field in str(error.value)


def test_feeds_are_the_pages_that_are_not_two_column():
    assert Simulation().feeds == ["featured", "friends"]
