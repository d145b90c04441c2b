import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from framework.core.errors import ConfigError, ServeError
from framework.core.release import Release
from framework.server import main, read_serving
from framework.serving import http
from framework.serving.http import HttpServing

ZERO = "sha256:" + "0" * 64


def release(**changes) -> Release:
    fields = {
        "name": "tiny",
        "recipe": "tiny",
        "plan": "0" * 64,
        "model_uri": "nowhere",
        "digest": ZERO,
        "engine": "genai",
        "task": "causal-lm",
        "base_model": "random",
        "base_model_license": "none",
        "data_digest": ZERO,
        "chat_template_digest": None,
        "metrics": {},
        "gates": {},
        "commit": None,
    }
    return Release.model_validate({**fields, **changes})


PACKAGES = ["httptools", "httpx", "prometheus_client", "starlette", "uvicorn"]


@pytest.mark.parametrize("package", PACKAGES)
def test_missing_extra_is_reported_in_one_line(package, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(http, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(ServeError, match=rf"{package}: pip install 'gitune\[serve\]'"):
        HttpServing().serve(tmp_path, release())


def test_task_without_a_route_is_rejected(tmp_path) -> None:
    with pytest.raises(ServeError, match="'image-text-classification'"):
        HttpServing().serve(tmp_path, release(task="image-text-classification"))


def test_unknown_task_is_rejected(tmp_path) -> None:
    with pytest.raises(ConfigError, match="task 'speech'"):
        HttpServing().serve(tmp_path, release(task="speech"))


def test_options_round_trip_through_json(tmp_path) -> None:
    path = tmp_path / "serving.json"
    path.write_text(json.dumps(HttpServing(port=9000, host="0.0.0.0", grace_seconds=3).dump()))
    assert read_serving(path) == HttpServing(port=9000, host="0.0.0.0", grace_seconds=3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("{}", "choose an option"),
        ('{"_target_": "os.path.Path"}', "outside the allowed packages"),
        ('{"_target_": "framework.serving.http.HttpServing", "prt": 1}', "prt"),
    ],
)
def test_broken_options_are_reported_in_one_line(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "serving.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=why) as caught:
        read_serving(path)
    assert "\n" not in str(caught.value)


def test_empty_api_key_is_rejected(monkeypatch, tmp_path):
    monkeypatch.setenv("GITUNE_API_KEY", " \n")
    with pytest.raises(ServeError, match="GITUNE_API_KEY is empty"):
        HttpServing().serve(tmp_path, release())


def test_missing_options_are_named(capsys, tmp_path):
    lock = Path(__file__).parents[2] / "golden" / "tiny.lock"
    assert main(["--release", str(lock), "--model", str(tmp_path / "model")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--config" in line
    assert "--fetch-only" in line


@pytest.mark.parametrize(
    ("adapters", "changes", "why"),
    [
        ({"tiny": "x"}, {}, "'tiny' is the release itself"),
        ({"support": "x"}, {"task": "sequence-classification"}, "for language models"),
        ({"support": "nowhere"}, {}, r"serving\.adapters\.support: nowhere: no such folder"),
        ({"support": "s3://bucket/support"}, {}, "nothing to verify it by"),
    ],
)
def test_adapters_that_cannot_be_served_are_named(adapters, changes, why, tmp_path) -> None:
    with pytest.raises(ServeError, match=why):
        HttpServing(adapters=adapters).serve(tmp_path / "model", release(**changes))


def test_names_of_adapters_have_no_colon() -> None:
    with pytest.raises(ValidationError, match="adapters"):
        HttpServing(adapters={"a:b": "x"})
