"""The population: identities, profiles that tell of taste, videos and calendar."""

import datetime

import numpy as np
import pytest

from simulation.arrays import concat
from simulation.behaviour import initial_state
from simulation.world import NUM_FOLLOWED, identifiers, make_world, users_table, videos_table


def explained(codes, values):
    """Share of the variance of ``values`` [n, ...] that lies between the groups of ``codes`` [n]."""
    means = np.stack([values[codes == code].mean(0) for code in np.unique(codes)])
    return means.var(0).mean() / values.var(0).mean()


def test_the_population_depends_on_the_seed_alone(tiny):
    world, again = make_world(tiny), make_world(tiny.model_copy(update={"num_plays": 500}))
    other = make_world(tiny.model_copy(update={"seed": 9}))
    assert users_table(world) == users_table(again) != users_table(other)
    assert videos_table(world) == videos_table(again) != videos_table(other)


def test_profiles_tell_of_taste_and_patience(logs):
    users = logs.world.users
    assert explained(users.age_band, users.taste) > 0.2
    assert explained(users.region, users.taste) > 0.05
    assert explained(users.age_band, users.impatience) > 0.1
    assert explained(users.activity, users.session_rate) > 0.2


def test_videos_are_in_range(logs):
    videos, settings = logs.world.videos, logs.settings
    assert videos.duration_ms.min() >= 5_000
    assert videos.duration_ms.max() <= 300_000
    assert 12_000 < np.median(videos.duration_ms) < 40_000
    assert videos.popularity.sum() == pytest.approx(1)
    assert np.corrcoef(np.log(videos.popularity), videos.quality)[0, 1] > 0.4
    assert explained(videos.category, np.log(videos.duration_ms)) > 0.2
    assert explained(videos.author, videos.quality) > 0.3
    assert videos.author.max() < settings.num_authors
    during = videos.upload_ms >= logs.world.day_edges_ms[0]
    assert during.mean() == pytest.approx(1 / 3, abs=0.01)
    assert videos.upload_ms.max() < logs.world.day_edges_ms[-1]
    for author in range(settings.num_authors):
        own = videos.by_author[videos.author_start[author] : videos.author_start[author + 1]]
        assert (videos.author[own] == author).all()


def test_side_tables_have_the_columns_that_the_logs_join(logs):
    assert logs.users.column_names == ["user_id", "age_band", "region", "device", "activity"]
    assert logs.videos.column_names == ["video_id", "author_id", "category", "music_id", "upload_day", "duration_ms"]
    for table in (logs.users, logs.videos):
        assert all(str(f.type) == "string" for f in table.schema if f.name != "duration_ms")
        assert all(column.null_count == 0 for column in table.columns)
        assert len(table.columns[0].unique()) == table.num_rows
    assert logs.users["user_id"][7].as_py() == "u007"


def test_users_follow_different_authors(logs):
    followed = np.sort(logs.world.users.followed, axis=1)
    assert followed.shape == (logs.settings.num_users, NUM_FOLLOWED)
    assert (np.diff(followed, axis=1) > 0).all()


def test_days_begin_at_local_midnight_even_when_clocks_change(tiny):
    world = make_world(tiny.model_copy(update={"first_day": datetime.date(2024, 3, 30), "time_zone": "Europe/Paris"}))
    hours = np.diff(world.day_edges_ms) / 3_600_000
    assert hours.tolist() == [24, 23, 24]  # summer time began on 31 March
    noon = world.day_edges_ms[:-1] + 12 * 3_600_000
    assert world.day_of(noon).tolist() == [0, 1, 2]
    assert world.day_of(world.day_edges_ms).tolist() == [0, 1, 2, 2]
    assert world.local_hour(noon).tolist() == [12, 12, 12]


def test_appeal_of_candidates_is_the_appeal_of_each(logs):
    users, videos = np.array([3, 8]), np.array([[0, 5, 9], [1, 1, 4]])
    together = logs.world.appeal(users, videos)
    for place in range(3):
        np.testing.assert_allclose(together[:, place], logs.world.appeal(users, videos[:, place]))


def test_identifiers_have_one_width():
    assert identifiers("v", np.array([0, 11, 3]), 12).to_pylist() == ["v00", "v11", "v03"]


def test_columns_are_selected_written_and_joined_together(tiny):
    state = initial_state(make_world(tiny))
    part = state[np.array([4, 2])]
    assert part.user.tolist() == [4, 2]
    part.mood[:] = 1.5
    assert state.mood.sum() == 0  # a copy
    state.write(np.array([4, 2]), part)
    assert np.flatnonzero(state.mood).tolist() == [2, 4]
    assert concat([part, state]).user.tolist()[:3] == [4, 2, 0]
