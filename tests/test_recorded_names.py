"""Times in file names: the common patterns, numbers that are no times, and patterns of the user."""

from __future__ import annotations

import datetime as dt

import pytest

from peaframe.audio.name_moments import formatted_moment, name_moment
from peaframe.errors import OptionError

UTC = dt.timezone.utc
EVENING = dt.datetime(2024, 4, 25, 20, 23)


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("20240425_202300.WAV", EVENING),
        ("20240425_202300T.WAV", EVENING),
        ("24F3190361DA3578_20240425_202300.WAV", EVENING),
        ("SM4_20240425_202300.wav", EVENING),
        ("SMA01234_20240425_202300_extra_7.wav", EVENING),
        ("S4A02641_0+1_20240425_202300.wac", EVENING),
        ("ARIZONA-1_0_20240425$202300.wav", EVENING),
        ("2MM01234_20240425_202300_250000.wav", EVENING.replace(microsecond=250000)),
        ("PAM_20240425_202300_250.wav", EVENING.replace(microsecond=250000)),
        ("SM4_20240425_202300_000.wav", EVENING),
        ("swift_20240425_202300.wav", EVENING),
        ("swift_20240425_202300_-0500.wav", EVENING.replace(tzinfo=dt.timezone(dt.timedelta(hours=-5)))),
        ("S1102_20240425_202300-0330.flac", EVENING.replace(tzinfo=dt.timezone(dt.timedelta(hours=-3.5)))),
        ("20240425T202300+1000_site.flac", EVENING.replace(tzinfo=dt.timezone(dt.timedelta(hours=10)))),
        ("20240425T202300Z.flac", EVENING.replace(tzinfo=UTC)),
        ("20240425T202300+0000.flac", EVENING.replace(tzinfo=UTC)),
        ("2024-04-25-20-23-00-UTC.wav", EVENING.replace(tzinfo=UTC)),
        ("20240425_202300_UTC.wav", EVENING.replace(tzinfo=UTC)),
        ("20240425_202300_UTC+2.wav", EVENING),
        ("2024-04-25T20-23-00.wav", EVENING),
        ("2024-04-25T20:23:00+02:00.wav", EVENING.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))),
        ("2024-04-25 20.23.00", EVENING),
        ("2024-04-25 20.23.00.m4a", EVENING),
        ("T2024-04-25_20-23-00_0000012.WAV", EVENING),
        ("Audio 2024-04-25 at 20.23.00.opus", EVENING),
        ("Audio 2024-04-25 at 8.23.00 PM.m4a", EVENING),
        ("Audio 2024-04-25 at 12.23.00 AM.m4a", EVENING.replace(hour=0)),
        ("Audio 2024-04-25 at 20.23.00 PM.m4a", None),
        ("2024_04_25__20_23_00.wav", EVENING),
        ("2024.04.25 - 20.23.00.wav", EVENING),
        ("2024-04-25_202300.wav", EVENING),
        ("REC20240425202300.mp3", EVENING),
        ("2024-04-25-birdnet-20:23:00.wav", EVENING),
        ("2024-04-25-birdnet-RTSP_1-20:23:00.wav", EVENING),
        ("240425-202300.wav", EVENING),
        ("WAT_NC_03_240425_202300_df100.x", EVENING),
        ("NRS08-240425-202300.wav", EVENING),
        ("6075.240425202300.wav", EVENING),
        ("1714076580.2024-04-25-20-23-00.wav", EVENING),
        ("5E90A4D4.WAV", dt.datetime(2020, 4, 10, 16, 54, 44, tzinfo=UTC)),
        ("5e90a4d4.wav", dt.datetime(2020, 4, 10, 16, 54, 44, tzinfo=UTC)),
        ("1714076580.wav", EVENING.replace(tzinfo=UTC)),
        ("1714076580123.webm", EVENING.replace(tzinfo=UTC, microsecond=123000)),
        ("20240425_202300-0001.wav", EVENING),
        ("20240425_202300-0030.wav", EVENING),
        ("20240425_202300-0512.wav", EVENING),
        ("20240425_202300-202459.wav", EVENING),
        ("20240425_202300+2000.wav", EVENING),
        ("/data/20230101_000000/SM4_20240425_202300.wav", EVENING),
        ("67403784_20240425_202300.wav", EVENING),
        ("20241325_202300_20240425_202300.wav", EVENING),
    ],
)
def test_names_that_say_it(name: str, when: dt.datetime | None) -> None:
    moment = name_moment(name)
    assert (moment and moment.when) == when
    if moment and when:
        assert moment.when.utcoffset() == when.utcoffset()
        assert moment.source == "file name"


@pytest.mark.parametrize(
    "name",
    [
        "12345678_123456.wav",
        "20241301_202300.wav",
        "20240431_202300.wav",
        "20230229_202300.wav",
        "20240425_242300.wav",
        "20240425_206000.wav",
        "20240425_202360.wav",
        "20240425_20230.wav",
        "20240425_2023001.wav",
        "120240425_202300.wav",
        "20240425.wav",
        "25042024_202300.wav",
        "25-04-2024 20-23-00.wav",
        "123456_123456.wav",
        "240425_0001.wav",
        "240425202300.wav",
        "10160435.wav",
        "58901234.wav",
        "5E90a4D4.wav",
        "5E90A4D4X.WAV",
        "DEADBEEF.wav",
        "0000000A.wav",
        "SanctSound_SB01_1678032935.wav",
        "9714076580.wav",
        "dog barking.wav",
        ".wav",
        "",
        "２０２４０４２５_２０２３００.wav",
    ],
)
def test_names_that_say_nothing(name: str) -> None:
    assert name_moment(name) is None


def test_names_with_guesses_say_so() -> None:
    notes = {
        "20240425_202300.wav": (),
        "20240425_202300_20240425_212300.wav": ("the file name holds 2 times: the first one is taken",),
        "240425-202300.wav": ("the year in the file name has two digits: read as 20yy",),
        "5E90A4D4.WAV": ("the file name is read as hexadecimal Unix seconds, as old AudioMoths write it",),
        "1714076580.wav": ("the file name is read as Unix time",),
    }
    for name, expected in notes.items():
        moment = name_moment(name)
        assert moment.notes == expected


@pytest.mark.parametrize(
    ("name", "time_format", "when"),
    [
        ("site7_25-04-2024_20h23.wav", "%d-%m-%Y_%Hh%M", EVENING),
        ("site7_25Apr2024_202300_x.wav", "%d%b%Y_%H%M%S", EVENING),
        ("250424-2023.wav", "%d%m%y-%H%M", EVENING),
        ("125250424-2023.wav", "%d%m%y-%H%M", None),
        ("125250424-2023.wav", "125%d%m%y-%H%M", EVENING),
        ("250424-20231.wav", "%d%m%y-%H%M", None),
        ("991399_250424-2023.wav", "%d%m%y-%H%M", EVENING),
        ("331399-9999_250424-2023.wav", "%d%m%y-%H%M", EVENING),
        ("2024 116 20.wav", "%Y %j %H", EVENING.replace(minute=0)),
        ("A (1) 8:23 pm 4.25.24.wav", "%I:%M %p %m.%d.%y", EVENING),
        (
            "20240425_202300.250-0500.wav",
            "%Y%m%d_%H%M%S.%f%z",
            EVENING.replace(microsecond=250000, tzinfo=UTC),
        ),
        ("100%_2024042520.wav", "100%%_%Y%m%d%H", EVENING.replace(minute=0)),
        ("Thursday, 25 April 2024, 20.wav", "%A, %d %B %Y, %H", EVENING.replace(minute=0)),
        ("nothing.wav", "%Y%m%d%H", None),
    ],
)
def test_patterns_of_the_user(name: str, time_format: str, when: dt.datetime | None) -> None:
    moment = formatted_moment(name, time_format)
    if when and when.tzinfo:
        when = when + dt.timedelta(hours=5)
    assert (moment and moment.when) == when


@pytest.mark.parametrize(
    ("time_format", "said"),
    [
        ("%Y%m%d_%H%Q", "has the unknown %Q"),
        ("%Y%m%d_%H%", "has the unknown %;"),
        ("%s", "has the unknown %s"),
        ("%-d.%m.%Y %H", "has the unknown %-"),
        ("%Y%m%d", "does not give year, month, day and hour"),
        ("%Y%m%d%H%m", "has %m more than once; give it once"),
        ("%H%M%S", "does not give year, month, day and hour"),
        ("%Y%m%d %I", "does not give year, month, day and hour"),
        ("", "does not give year, month, day and hour"),
    ],
)
def test_patterns_that_say_too_little(time_format: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        formatted_moment("20240425_202300.wav", time_format)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
