"""Requests: what they refuse, their JSON form, and making them from a play log."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from serving.play_log_rows import request_from_rows
from serving.request import Candidate, Play, RankRequest


def play(**changes):
    return Play(**{"video_id": "v1", "time_ms": 10, "play_time_ms": 5, "duration_ms": 9, **changes})


def request(**changes):
    return RankRequest(
        **{"user_id": "u", "request_time_ms": 100, "candidates": [Candidate("v", 1)], "history": [play()], **changes}
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: play(video_id=""), "`video_id` must not be empty"),
        (lambda: Candidate("", 5), "`video_id` must not be empty"),
        (lambda: request(user_id=""), "`user_id` must not be empty"),
        (lambda: play(time_ms=-3), "`time_ms` must not be negative.*Received: time_ms=-3"),
        (lambda: play(play_time_ms=-1), "play_time_ms=-1"),
        (lambda: play(duration_ms=2**63), "duration_ms=9223372036854775808"),
        (lambda: Candidate("v", -1), "duration_ms=-1"),
        (lambda: request(request_time_ms=-1), "request_time_ms=-1"),
        (lambda: request(candidates=[]), "`candidates` must hold at least one video"),
        (
            lambda: request(history=[play(time_ms=9), play(time_ms=8)]),
            r"`history` must be oldest first. Received: history\[1\].time_ms=8 after 9",
        ),
        (
            lambda: request(history=[play(time_ms=100)]),
            r"before the request. Received: history\[0\].time_ms=100, request_time_ms=100",
        ),
    ],
)
def test_refuses_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: play(video_id=7), "`video_id` must be a string. Received: video_id=7"),
        (lambda: play(time_ms=1.5), "`time_ms` must be an integer. Received: time_ms=1.5"),
        (lambda: play(time_ms=True), "`time_ms` must be an integer"),
        (lambda: play(extra={"m": 3}), r"extra\['m'\]=3"),
        (lambda: play(extra="m"), "`extra` must map column names to strings"),
        (lambda: request(candidates=["v1"]), r"`candidates\[0\]` must be a Candidate"),
    ],
)
def test_refuses_bad_types(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_numpy_integers_pass():
    made = play(time_ms=np.int64(7))
    assert type(made.time_ms) is int
    json.dumps(request(history=[made]).to_dict())


def test_an_empty_history_passes():
    assert request(history=()).history == ()


def test_json_round_trip(requests):
    for made in requests:
        assert RankRequest.from_json(made.to_json()) == made
    assert RankRequest.from_json(requests[2].to_json(indent=2).encode()) == requests[2]
    assert "\\u" not in request(user_id="用户").to_json()


def test_json_defaults():
    made = RankRequest.from_json(
        '{"user_id": "u", "request_time_ms": 5, "candidates": [{"video_id": "v", "duration_ms": 1}]}'
    )
    assert made == RankRequest("u", 5, [Candidate("v", 1)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(users="x"), "`request` has the unknown key 'users'; the known ones are user_id, "),
        (lambda d: d["history"][0].update(watch=1), r"`history\[0\]` has the unknown key 'watch'"),
        (lambda d: d["candidates"][2].pop("duration_ms"), r"`candidates\[2\]` lacks the key 'duration_ms'"),
        (lambda d: d.pop("candidates"), "`request` lacks the key 'candidates'"),
        (lambda d: d.update(history={}), "`history` must be a list"),
        (lambda d: d["history"].append("x"), r"`history\[3\]` must be a JSON object. Received: 'x'"),
        (lambda d: d["history"][1].update(time_ms="7"), r"history\[1\]: `time_ms` must be an integer"),
        (lambda d: d.update(user_id=5), "`user_id` must be a string"),
    ],
)
def test_json_refusals(requests, change, message):
    data = requests[2].to_dict()
    change(data)
    with pytest.raises(ValueError, match=message):
        RankRequest.from_json(json.dumps(data))


def test_not_json():
    with pytest.raises(ValueError, match="not valid JSON"):
        RankRequest.from_json("{")
    with pytest.raises(ValueError, match="`request` must be a JSON object"):
        RankRequest.from_json("[]")


# --- from a play log --------------------------------------------------------------------------------------------------


ROWS = [
    {"user_id": "u", "video_id": "b", "time_ms": 20, "play_time_ms": 3, "duration_ms": 9, "platform": "2", "age": "30"},
    {"user_id": "u", "video_id": "c", "time_ms": 10, "play_time_ms": 3, "duration_ms": 9, "platform": "1", "age": "20"},
    {"user_id": "u", "video_id": "a", "time_ms": 20, "play_time_ms": 3, "duration_ms": 9, "platform": "1", "age": "25"},
    {"user_id": "u", "video_id": "d", "time_ms": 90, "play_time_ms": 3, "duration_ms": 9, "platform": "9", "age": "90"},
]
VIDEOS = [{"video_id": "x", "duration_ms": 5, "author_id": "p", "music": "m1"}, {"video_id": "y", "duration_ms": 6}]


def test_rows_become_a_request():
    made = request_from_rows(ROWS, VIDEOS, request_time_ms=50, profile_columns=["age"])
    assert [p.video_id for p in made.history] == ["c", "a", "b"]  # by time, ties by video
    assert (made.user_id, made.platform, made.profile) == ("u", "2", {"age": "30"})
    assert made.candidates == (Candidate("x", 5, "p"), Candidate("y", 6))


def test_frames_become_the_same_request():
    frame = pd.DataFrame([{**row, "author_id": None} for row in ROWS])
    videos = pd.DataFrame(VIDEOS)
    made = request_from_rows(frame, videos, request_time_ms=50, profile_columns=["age"])
    assert made == request_from_rows(ROWS, VIDEOS, request_time_ms=50, profile_columns=["age"])


def test_the_request_comes_right_after_the_last_play_by_default():
    made = request_from_rows(ROWS, VIDEOS, platform="7")
    assert (made.request_time_ms, len(made.history), made.platform) == (91, 4, "7")


def test_numeric_ids_become_strings():
    rows = pd.DataFrame(ROWS[:1]).assign(user_id=5, author_id=[7.0])
    made = request_from_rows(rows, [{"video_id": 3, "duration_ms": 4}])
    assert (made.user_id, made.history[0].author_id, made.candidates[0].video_id) == ("5", "7", "3")


def test_extra_video_columns():
    rows = [{**row, "music": "m0"} for row in ROWS]
    made = request_from_rows(rows, [{**VIDEOS[0]}], video_columns=["music"])
    assert made.history[0].extra == {"music": "m0"}
    assert made.candidates[0].extra == {"music": "m1"}


def test_a_user_without_plays():
    made = request_from_rows([], VIDEOS, user_id="new", request_time_ms=5)
    assert made.history == ()
    with pytest.raises(ValueError, match="`request_time_ms` must be given"):
        request_from_rows([], VIDEOS, user_id="new")


def test_rows_that_say_too_little_or_too_much():
    with pytest.raises(ValueError, match=r"one user's rows.*Received: 2 users"):
        request_from_rows([*ROWS, {**ROWS[0], "user_id": "w"}], VIDEOS)
    assert len(request_from_rows([*ROWS, {**ROWS[0], "user_id": "w"}], VIDEOS, user_id="u").history) == 4
    with pytest.raises(ValueError, match="`plays` has no column 'play_time_ms'; it has user_id"):
        request_from_rows([{k: v for k, v in ROWS[0].items() if k != "play_time_ms"}], VIDEOS)
    with pytest.raises(ValueError, match="`candidates` has no column 'duration_ms'"):
        request_from_rows(ROWS, [{"video_id": "x"}])


def test_requests_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        request().user_id = "x"
