"""Logs in the layouts that companies and public data sets have, through both components."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from components.play_log.check import check_inputs
from components.settings import Components

pytestmark = pytest.mark.beam

KUAIREC = Path(__file__).resolve().parents[2] / "configs" / "kuairec.yaml"


def test_partitioned_folders(log_of, settings_for, components_run, tmp_path):
    log = log_of()
    days = pd.to_datetime(log.time_ms, unit="ms").dt.strftime("%Y-%m-%d")
    for (day, tab), part in log.drop(columns="platform").groupby([days, log.platform]):
        if day != "2024-01-05":
            folder = tmp_path / "log" / f"day={day}" / f"tab={tab}"
            folder.mkdir(parents=True)
            pq.write_table(pa.Table.from_pandas(part, preserve_index=False), folder / "part-0.parquet")
    (tmp_path / "log" / "_SUCCESS").write_text("")
    log[days != "2024-01-05"].to_csv(tmp_path / "plays.csv", index=False)
    changes = {"quantiles": {"min_plays": 5}, "feeds": ["main"]}
    expected = components_run(settings_for(tmp_path, **changes), tmp_path / "out")
    plays = {"columns": {"platform": "tab"}, "day_format": "%Y-%m-%d", "allow_missing_days": True}
    found = components_run(settings_for(tmp_path, "log/day={day}", plays=plays, **changes), tmp_path / "out2")
    assert found.counts == expected.counts and found.counts.not_a_feed
    for split in ("train", "eval"):
        assert found.examples[split] == expected.examples[split]


BIG_MATRIX = """\
user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio
0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.2733965215790926
0,9598,13665,10984,2020-07-05 00:13:41.297,20200705,1593879221.297,1.2440823015294975
0,5262,851,7908,2020-07-05 00:16:06.687,20200705,1593879366.687,0.10761254425897825
1,3649,400,10867,2020-09-03 00:00:00.5,20200903,1599062400.5,0.03680868684
1,9598,12000,10984,2020-09-02 23:59:59.999,20200902,1599062399.999,1.0925
1,9598,12000,10984,,,,1.0925
"""
USER_FEATURES = """\
user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,follow_user_num_range,\
fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,register_days_range,onehot_feat0
0,high_active,0,0,0,5,"(0,10]",0,0,0,0,107,61-90,0
1,full_active,0,0,0,386,"(250,500]",4,"[1,10)",2,"[1,5)",327,181-365,0
"""
ITEM_DAILY_FEATURES = """\
video_id,date,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,video_width,video_height,\
music_id,video_tag_id,video_tag_name,show_cnt
3649,20200705,3309,NORMAL,2020-03-30,ShortImport,public,10867.0,720,1280,3350323409,841,建筑,6135
3649,20200706,3309,NORMAL,2020-03-30,ShortImport,public,10867.0,720,1280,3350323409,841,建筑,5001
9598,20200705,1106,NORMAL,2020-05-30,ShortCamera,public,10984.0,720,1280,1234,-124,,77
"""


def test_kuairec_as_downloaded(components_run, tmp_path):
    for name, text in {
        "big_matrix.csv": BIG_MATRIX,
        "user_features.csv": USER_FEATURES,
        "item_daily_features.csv": ITEM_DAILY_FEATURES,
    }.items():
        (tmp_path / name).write_text(text)
    config = yaml.safe_load(KUAIREC.read_text())
    config["data"] |= {"root": str(tmp_path), "max_bad_row_fraction": 0.2}
    settings = Components.model_validate({"data": config["data"], "sequences": config["sequences"]})
    check_inputs(settings.data)
    found = components_run(settings, tmp_path / "out")
    assert found.counts.bad == {"missing_time_ms": 1}
    columns = ["user_id", "video_id", "time_ms", "play_time_ms", "duration_ms", "author_id", "category", "gvv"]
    columns += ["follow_user_num_range"]
    rows = [tuple(r) for split in ("train", "eval") for r in found.plays(split, columns).itertuples(index=False)]
    assert sorted(rows) == [
        ("0", "3649", 1593878903438, 13838, 10867, "3309", "841", 0, "(0,10]"),
        ("0", "5262", 1593879366687, 851, 7908, "", "", 1, "(0,10]"),
        ("0", "9598", 1593879221297, 13665, 10984, "1106", "-124", 0, "(0,10]"),
        ("1", "3649", 1599062400500, 400, 10867, "3309", "841", 1, "(250,500]"),
        ("1", "9598", 1599062399999, 12000, 10984, "1106", "-124", 0, "(250,500]"),
    ]
    assert found.counts.targets == {"train": 4, "eval": 1}  # midnight in China parts the two
