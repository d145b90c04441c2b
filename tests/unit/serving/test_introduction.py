import shlex
from pathlib import Path

import pytest

from framework.core.release import Release
from framework.serving import API_KEY
from framework.serving.introduction import introduce

RELEASE = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")


@pytest.mark.parametrize(
    ("host", "address", "here"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("::", "http://[::]:8000", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000", "http://[::1]:8000"),
        ("gpu.example", "http://gpu.example:8000", "http://gpu.example:8000"),
    ],
)
def test_addresses_can_be_opened(host, address, here):
    first, page, request = introduce(RELEASE, host, 8000, page=True)
    assert f" on {address};" in first
    assert page.endswith(f" {here}/")
    words = shlex.split(request.partition("curl ")[2])
    assert words[0] == f"{here}/v1/chat/completions"
    assert '"model": "tiny"' in words[-1]


@pytest.mark.parametrize(
    ("task", "path", "asked"),
    [
        ("sequence-classification", "/v1/classify", '"input": "Hello"'),
        ("text-embedding", "/v1/embeddings", '"input": "Hello"'),
    ],
)
def test_first_request_is_one_of_the_task(task, path, asked):
    release = RELEASE.model_copy(update={"task": task})
    request = introduce(release, "127.0.0.1", 8000, page=False)[-1]
    words = shlex.split(request.partition("curl ")[2])
    assert words[0] == f"http://127.0.0.1:8000{path}"
    assert asked in words[-1]


def test_key_is_named_but_not_said(monkeypatch):
    monkeypatch.setenv(API_KEY, "s3cret")
    lines = introduce(RELEASE, "127.0.0.1", 8000, page=False)
    assert len(lines) == 2
    assert f"Bearer ${API_KEY}" in lines[1]
    assert "s3cret" not in "".join(lines)
