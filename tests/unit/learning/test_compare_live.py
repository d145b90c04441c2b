"""``run compare-live``."""

import json
import random

import pytest

from framework.core.errors import ConfigError
from framework.learning.compare_live import compare_live

OLD, NEW = (f"sha256:{sign * 64}" for sign in "ab")


def reports(rows, rating, completed, seed=0):
    chosen = random.Random(seed)
    return [
        {
            "id": row["id"],
            "time": row["time"],
            "version": row["digest"].removeprefix("sha256:")[:12],
            "rating": min(5, max(1, round(chosen.gauss(rating, 1)))),
            "completed": chosen.random() < completed,
        }
        for row in rows
    ]


def result(file):
    return json.loads(file.read_text())


def test_equal_releases_go_on(requests, log, tmp_path, capsys):
    a, b = requests(400), requests(400, NEW)
    url = log([*a, *b], [*reports(a, 4, 0.9), *reports(b, 4, 0.9, seed=1)])
    file = tmp_path / "live.json"
    compare_live([f"log={url}", f"json={file}"])
    told = result(file)
    assert (told["a"], told["b"], told["verdict"][:5]) == (OLD, NEW, "go on")
    assert set(told["metrics"]) == {"rating", "completed", "bad", "seconds"}
    for metric in told["metrics"].values():
        low, high = metric["always_valid"]
        assert low < metric["interval"][0] < metric["interval"][1] < high
        assert metric["answers"] == [400, 400]
        assert metric["verdict"] == "undecided"
    assert "seconds" in capsys.readouterr().out


def test_a_worse_release_stops(requests, log, tmp_path):
    a, b = requests(400), requests(400, NEW, bad=0.3, seconds=3)
    url = log([*a, *b], [*reports(a, 4.2, 0.95), *reports(b, 3, 0.6, seed=1)])
    file = tmp_path / "live.json"
    compare_live([f"log={url}", f"json={file}"])
    told = result(file)
    assert {name: each["verdict"] for name, each in told["metrics"].items()} == dict.fromkeys(
        ("rating", "completed", "bad", "seconds"), "worse"
    )
    assert told["verdict"].startswith("stop: b is worse")
    compare_live([f"log={url}", "a=bbbb", "b=aaaa", f"json={file}"])
    assert result(file)["verdict"].startswith("stop: b is better")


def test_a_shadow_without_feedback_has_a_log_of_its_own(requests, log, tmp_path):
    stable, shadow = log(requests(100), name="stable"), log(requests(100, NEW, seconds=4), name="shadow")
    file = tmp_path / "live.json"
    compare_live([f"log={stable}", f"other={shadow}", "a=aaaaaaaa", "b=sha256:bbbb", f"json={file}"])
    assert set(result(file)["metrics"]) == {"bad", "seconds"}
    assert result(file)["metrics"]["seconds"]["verdict"] == "worse"


def test_a_later_report_replaces_an_earlier_one(requests, log, tmp_path):
    a, b = requests(100), requests(100, NEW)
    again = reports(b, 5, 1.0)
    url = log([*a, *b], [*reports(a, 3, 0.5), *reports(b, 1, 0.0), *again])
    file = tmp_path / "live.json"
    compare_live([f"log={url}", f"json={file}"])
    assert result(file)["metrics"]["completed"]["b"] == 1
    assert result(file)["metrics"]["completed"]["answers"] == [100, 100]


def test_the_two_releases_must_be_clear(requests, log):
    one = log(requests(50))
    with pytest.raises(ConfigError, match="1 releases"):
        compare_live([f"log={one}"])
    with pytest.raises(ConfigError, match="b=cc"):
        compare_live([f"log={one}", "a=aa", "b=cc"])
    with pytest.raises(ConfigError, match="alpha=2"):
        compare_live([f"log={one}", "alpha=2"])
