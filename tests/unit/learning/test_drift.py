"""``run drift``."""

import json

import pytest

from framework.core.errors import ConfigError, GateError, SourceError
from framework.gitops.metric_source import read_metrics
from framework.learning.drift import drift

OLD, NEW = (f"sha256:{sign * 64}" for sign in "ab")


def found(file):
    return json.loads(file.read_text())


def test_requests_like_those_before_pass(requests, log, tmp_path):
    url = log([*requests(300), *requests(300, NEW, days=8, seed=1)])
    file = tmp_path / "drift.json"
    drift([f"log={url}", "check=true", f"json={file}"])
    assert found(file)["above"] == []
    assert (found(file)["requests"], found(file)["reference"]) == (300, "earlier requests")
    metrics = read_metrics(file, NEW)
    assert metrics["drift.psi.prompt_words"] < 0.1
    assert metrics["drift.bad_in_a_row"] == 0


def test_what_moved_is_named_and_fails_the_check(requests, log, tmp_path, capsys):
    moved = requests(300, NEW, days=8, length=20, words=200, bad=1.0)
    url = log([*requests(300), *moved])
    file = tmp_path / "drift.json"
    with pytest.raises(GateError, match=r"drift\.psi\.prompt_words"):
        drift([f"log={url}", "check=true", f"json={file}"])
    names = {
        "drift.psi.prompt_words",
        "drift.sigmas.prompt_words",
        "drift.unseen_words",
        "drift.bad_in_a_row",
    }
    assert names <= set(found(file)["above"])
    drift([f"log={url}", "psi=99", "sigmas=99", "unseen=1", "bad_in_a_row=999", "check=true"])
    assert "drift.unseen_words" in capsys.readouterr().out


def test_another_log_or_a_recipe_is_the_reference(requests, log, tmp_path):
    before, now = log(requests(200), name="before"), log(requests(200, NEW, seed=1))
    file = tmp_path / "drift.json"
    drift([f"log={now}", f"reference={before}", f"json={file}"])
    assert found(file)["metrics"]["drift.psi.prompt_words"] < 0.1
    drift([f"log={now}", "+recipe=sentiment", "data=economy", f"json={file}"])
    assert found(file)["reference"] == "training rows"
    assert found(file)["metrics"]["drift.unseen_words"] > 0.5
    with pytest.raises(ConfigError, match="two references"):
        drift([f"log={now}", "+recipe=tiny", f"reference={before}"])


def test_one_release_is_looked_at_and_bad_words_are_refused(requests, log, tmp_path):
    url = log([*requests(100), *requests(100, NEW, days=1, seed=1)])
    file = tmp_path / "drift.json"
    drift([f"log={url}", "digest=aaaa", f"reference={url}", f"json={file}"])
    assert (found(file)["digest"], found(file)["requests"]) == (OLD, 100)
    with pytest.raises(ConfigError, match="digest=ccc"):
        drift([f"log={url}", "digest=ccc"])
    with pytest.raises(ConfigError, match="days=soon"):
        drift([f"log={url}", "days=soon"])
    with pytest.raises(ConfigError, match="50 samples"):
        drift([f"log={url}", "days=0.001"])
    with pytest.raises(SourceError, match="no request log"):
        drift([f"log={tmp_path}"])
