"""The settings file of a server between versions: one writes it, an image of another reads it."""

import json

import pytest

from framework.core.errors import ConfigError
from framework.delivery.deployment.kubernetes import settings_text
from framework.server import read_serving
from framework.serving.http import HttpServing

HTTP = "framework.serving.http.HttpServing"
EARLIER = {
    "_target_": HTTP,
    "access_log": "none",
    "adapters": {},
    "batch_timeout": 0.05,
    "cache": None,
    "drift": {"_target_": "framework.serving.drift_options.DriftOptions", "reference": None, "window": 500},
    "engine_timeout": 60.0,
    "fallback": None,
    "grace_seconds": 20,
    "host": "0.0.0.0",
    "jobs": None,
    "keep_alive_seconds": 5,
    "keys": None,
    "max_batch_size": 1,
    "max_connections": 1000,
    "max_new_tokens": 256,
    "max_prompt_characters": 0,
    "max_wait_seconds": 10.0,
    "page": True,
    "port": 8000,
    "queue_timeout": 180.0,
    "receive_seconds": 20.0,
    "request_log": None,
    "threads": 4,
    "traces": None,
}
"""What a runner wrote that named every field: a file of then, and the defaults of an image of then."""


@pytest.fixture
def read(tmp_path):
    def write_and_read(content):
        path = tmp_path / "serving.json"
        path.write_text(json.dumps(content))
        return read_serving(path)

    return write_and_read


def test_file_of_an_earlier_runner_is_read(read):
    # If this fails because a default has changed: an image of then has another one, so write that field.
    assert read(EARLIER) == HttpServing(host="0.0.0.0", threads=4)


def test_file_has_nothing_that_is_not_used():
    plain = json.loads(settings_text(HttpServing(), "4"))
    assert plain == {"_target_": HTTP, "host": "0.0.0.0", "threads": 4}
    assert {*plain} <= {*EARLIER}


def test_what_is_used_is_in_the_file(read):
    options = {"cache": {"memory_mib": 8}, "drift": {"window": 600}, "batch_timeout": 0.01, "jobs": {}}
    serving = HttpServing.model_validate(options | {"adapters": {"support": "s3://bucket/a"}})
    written = json.loads(settings_text(serving, "2500m", "/keys.yaml"))
    assert written == {
        "_target_": HTTP,
        "adapters": {"support": "s3://bucket/a"},
        "batch_timeout": 0.01,
        "cache": {"_target_": "framework.serving.answers.cache_options.CacheOptions", "memory_mib": 8},
        "drift": {"_target_": "framework.serving.drift_options.DriftOptions", "window": 600},
        "host": "0.0.0.0",
        "jobs": {"_target_": "framework.serving.jobs.settings.Jobs"},
        "keys": "/keys.yaml",
        "threads": 2,
    }
    assert read(written) == serving.model_copy(update={"host": "0.0.0.0", "threads": 2, "keys": "/keys.yaml"})


@pytest.mark.parametrize("where", ["later", "cache.later"])
def test_option_of_a_later_version_is_refused_by_name(read, where):
    content = json.loads(settings_text(HttpServing.model_validate({"cache": {"memory_mib": 8}}), "4"))
    place = content["cache"] if where.startswith("cache.") else content
    place["later"] = 1
    with pytest.raises(ConfigError, match=rf"serving\.json: {where}: .*image") as caught:
        read(content)
    assert "\n" not in str(caught.value)
