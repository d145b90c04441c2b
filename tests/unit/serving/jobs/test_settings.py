import base64
from pathlib import Path

import pytest
from pydantic import ValidationError

from framework.core.errors import ServeError
from framework.serving.http import HttpServing
from framework.serving.jobs import worker
from framework.serving.jobs.background import Background
from framework.serving.jobs.settings import WEBHOOK_SECRET, Jobs
from framework.serving.jobs.webhooks import backoff, read_secret


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"results": "postgresql://a:b@host/jobs"}, "password"),
        ({"results": "jobs.sqlite"}, "location"),
        ({"broker": "redis://host"}, "broker_alone"),
        ({"webhook_hosts": ["https://hooks.example.com"]}, "host"),
        ({"webhook_hosts": ["a.example.com"], "webhook_url": "https://b.example.com/"}, "webhook_host"),
        ({"webhook_url": "https://b.example.com/"}, "webhook_host"),
        ({"unknown": 1}, "extra_forbidden"),
    ],
)
def test_wrong_options_are_refused(options, kind):
    with pytest.raises(ValidationError) as caught:
        HttpServing.model_validate({"jobs": options})
    assert [error["type"] for error in caught.value.errors()] == [kind]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com@169.254.169.254/",
        "https://hooks.example.com.evil.example/",
        "https://hooks.example.com:70000/",
        "https://hooks.example.com\\@evil.example/",
        "https://hooks.example.com/\r\nX: y",
        "//hooks.example.com/",
        "https:///x",
        "https://[hooks.example.com]/",
    ],
)
def test_tricks_do_not_reach_other_hosts(url):
    assert not Jobs(webhook_hosts=("hooks.example.com",)).calls(url)


def test_locations_come_from_the_environment(monkeypatch, tmp_path):
    jobs = Jobs(broker="MY_BROKER", results="MY_DATABASE")
    with pytest.raises(ServeError, match="MY_BROKER"):
        jobs.broker_url()
    monkeypatch.setenv("MY_BROKER", "amqp://a:b@host")
    monkeypatch.setenv("MY_DATABASE", "postgresql://a:b@host/jobs")
    assert jobs.broker_url() == "amqp://a:b@host"
    assert jobs.results_url(tmp_path) == "postgresql://a:b@host/jobs"
    assert Jobs().results_url(tmp_path) == f"sqlite:///{tmp_path}/jobs.sqlite"
    assert Jobs().broker_url() == ""


def test_an_unknown_broker_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("MY_BROKER", "kafka://secret@host")
    jobs = Jobs(broker="MY_BROKER", results="sqlite:///x")
    with pytest.raises(ServeError, match="amqp") as caught:
        Background(jobs, "tiny", tmp_path, None)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", base64.b64encode(b"k" * 32).decode()])
def test_webhooks_need_a_secret(secret, monkeypatch):
    monkeypatch.setenv(WEBHOOK_SECRET, secret)
    with pytest.raises(ServeError, match=WEBHOOK_SECRET):
        read_secret()


def test_waits_between_calls_grow():
    assert [backoff(n + 1) > backoff(n) for n in range(1, 6)] == [True] * 5


def test_a_worker_without_a_broker_says_so(tmp_path, capsys):
    import json

    (tmp_path / "serving.json").write_text(json.dumps(HttpServing(jobs=Jobs()).dump()))
    lock = Path(__file__).parents[3] / "golden" / "tiny.lock"
    files = ["--release", str(lock), "--config", str(tmp_path / "serving.json")]
    assert worker.main([*files, "--url", "http://x"]) == 2
    assert "jobs.broker" in capsys.readouterr().err
    assert worker.main([*files[:3], str(tmp_path / "none.json"), "--url", "http://x"]) == 2
