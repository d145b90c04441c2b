"""Soak time by real Git's dates, and metrics of a real Prometheus or a file."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml

from framework.core.errors import FrameworkError, GateError
from framework.core.git import Repository
from framework.core.release import Release
from framework.gitops.promotion_conditions import require_conditions
from framework.gitops.remote_compose import ComposeResult

TINY = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")
HOUR = 3600
NOW = int(time.time())


def release(digit):
    return TINY.model_copy(update={"digest": f"sha256:{digit * 64}"})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "team").mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=tmp_path / "team", check=True)
    return tmp_path / "team"


def commit(folder, hours_ago, digit=None):
    """Commit a release to staging, or remove it, so many hours ago."""
    lock = folder / "environments" / "staging" / "tiny" / "release.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(release(digit).text()) if digit else lock.unlink()
    (lock.parent / "app.json").write_text('{"namespace": "gitune-staging"}\n')
    environ = {**os.environ, "GIT_COMMITTER_DATE": f"@{NOW - int(hours_ago * HOUR)} +0000"}
    environ |= {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for words in (["add", "."], ["commit", "-qm", f"{digit} {hours_ago}"]):
        subprocess.run(["git", *words], cwd=folder, env=environ, check=True)


def conditions(folder, digit, skip="", **promotion):
    """Return the commit's lines of a promotion to production."""
    answer = ComposeResult(config={"environment": {"promotion": {"after": "staging", **promotion}}})
    words = ("environments", release(digit), "staging", "production", answer, skip)
    return require_conditions(Repository(folder), *words)


def refusal(folder, digit, **promotion):
    with pytest.raises(GateError) as error:
        conditions(folder, digit, **promotion)
    assert str(error.value).endswith("; or give a reason to skip this with skip=<reason>")
    return str(error.value)


def at(hours_ago):
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(NOW - int(hours_ago * HOUR)))


@pytest.mark.parametrize(
    "past",
    [
        [(30, "a")],
        [(50, "a"), (40, "b"), (30, "a")],  # another one in between
        [(50, "a"), (40, None), (30, "a")],  # removed in between
        [(50, "b"), (30, "a")],
    ],
)
def test_release_soaks_since_it_last_came(folder, past):
    for hours_ago, digit in past:
        commit(folder, hours_ago, digit)
    assert f"in staging since {at(30)}" in conditions(folder, "a", soak="30h")
    message = refusal(folder, "a", soak="31h")
    assert f"in staging since {at(30)}" in message
    assert f"after {at(-1)}" in message
    assert conditions(folder, "a") == ""


def test_commit_is_not_older_than_its_ancestors(folder):
    commit(folder, 50, "b")
    commit(folder, 3, "c")
    commit(folder, 40, "a")  # backdated
    assert f"since {at(3)}" in refusal(folder, "a", soak="1d")
    commit(folder, 2, "c")
    commit(folder, -24, "b")  # a wrong clock does not hold others up for a day
    commit(folder, 1, "a")
    assert f"since {at(1)}" in conditions(folder, "a", soak="1h")


def test_merge_counts_when_it_lands(folder):
    commit(folder, 50, "b")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "switch", "-qc", "proposal"], cwd=folder, check=True)
    commit(folder, 40, "a")
    subprocess.run([*git, "switch", "-q", "main"], cwd=folder, check=True)
    environ = {**os.environ, "GIT_COMMITTER_DATE": f"@{NOW - 2 * HOUR} +0000"}
    subprocess.run([*git, "merge", "-q", "--no-ff", "proposal"], cwd=folder, env=environ, check=True)
    assert f"since {at(2)}" in refusal(folder, "a", soak="1d")
    assert f"since {at(2)}" in conditions(folder, "a", soak="2h")


def test_soak_of_a_shallow_clone_is_unknown(folder, tmp_path):
    for digit in "ba":
        commit(folder, 30, digit)
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{folder}", str(shallow)], check=True)
    with pytest.raises(FrameworkError, match="git fetch --unshallow"):
        conditions(shallow, "a", soak="1h")
    assert conditions(shallow, "a") == ""
    assert "staging, which has aaaaaaaaaaaa, not bbbbbbbbbbbb" in refusal(shallow, "b")


def test_reason_to_skip_is_recorded_with_what_it_skips(folder, capsys):
    commit(folder, 1, "a")
    lines = conditions(folder, "a", "an outage", soak="24h")
    assert "Skipped: an outage\n" in lines
    assert f"- it is in staging since {at(1)}, production requires 24h" in lines
    assert "an outage" in capsys.readouterr().err
    assert "an outage" not in conditions(folder, "a", "an outage", soak="1h")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "m.json cannot be read"),
        ({"digest": release("b").digest, "metrics": {"failures": 0}}, "another release, sha256:bbbb"),
        ({"digest": release("a").digest, "metrics": {"failures": 0.02}}, "failures is 0.02, production"),
        ({"digest": release("a").digest, "metrics": {"other": 0}}, "failures is not in"),
        ({"digest": release("a").digest, "metrics": {"failures": float("nan")}}, "failures is nan"),
        ({"digest": release("a").digest, "metrics": [0]}, "m.json should be {"),
        ([], "m.json should be {"),
    ],
)
def test_metrics_of_a_file(folder, tmp_path, content, expected):
    commit(folder, 1, "a")
    file = tmp_path / "m.json"
    if content is not None:
        file.write_text(json.dumps(content))
    promotion = {"metrics_from": str(file), "verify": {"failures": {"max": 0.01}}}
    assert expected in refusal(folder, "a", **promotion)
    file.write_text(json.dumps({"digest": release("a").digest, "metrics": {"failures": 0.01}}))
    assert conditions(folder, "a", **promotion) == (
        "failures is 0.01, production requires <= 0.01 in staging.\n"
    )


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """A Prometheus with one recorded series for the release in staging, and one for another."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    labels = {"namespace": "gitune-staging", "release": "tiny", "digest": release("a").digest}
    rules = [
        {"record": "failures", "expr": "vector(0.02)", "labels": labels},
        {"record": "failures", "expr": "vector(0)", "labels": {"namespace": "other"}},
    ]
    group = {"groups": [{"name": "g", "interval": "1s", "rules": rules}]}
    (folder / "rules.yaml").write_text(yaml.safe_dump(group))
    (folder / "prometheus.yaml").write_text(f"rule_files: [{folder}/rules.yaml]\n")
    url = f"http://127.0.0.1:{port}"
    options = {"config.file": folder / "prometheus.yaml", "storage.tsdb.path": folder / "data"}
    options["web.listen-address"] = f"127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        command = ["prometheus", *(f"--{key}={value}" for key, value in options.items())]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not _recorded(url):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _recorded(url):
    try:
        answer = httpx.get(f"{url}/api/v1/query", params={"query": "failures"})
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and len(answer.json()["data"]["result"]) == 2


def test_metrics_of_a_prometheus(folder, prometheus):
    commit(folder, 1, "a")
    query = 'max(failures{namespace="$namespace", release="$release", digest="$digest"})'

    def asked(query, most):
        return {"metrics_from": f"{prometheus}/", "verify": {"failures": {"query": query, "max": most}}}

    passed = "failures is 0.02, production requires <= 0.05 in staging.\n"
    assert conditions(folder, "a", **asked(query, 0.05)) == passed
    assert conditions(folder, "a", **asked(f"scalar({query})", 0.05)) == passed
    assert "failures is 0.02, production requires <= 0.01" in refusal(folder, "a", **asked(query, 0.01))
    for wrong, expected in (
        ('failures{namespace="$environment"}', "the query gives 0 values"),
        ("failures", "the query gives 2 values"),
        ("failures[5m]", "the query gives a matrix"),
        ("max(", "answers 400: invalid parameter"),
    ):
        assert expected in refusal(folder, "a", **asked(wrong, 0.05))


def test_source_that_is_no_prometheus(folder, prometheus):
    commit(folder, 1, "a")
    verify = {"failures": {"query": "failures", "max": 0.01}}
    for url, expected in (
        ("http://127.0.0.1:9", "does not answer"),
        ("http://127.0.0.1:port", "does not answer"),
        (f"{prometheus}/x", "answers 404"),
    ):
        assert expected in refusal(folder, "a", metrics_from=url, verify=verify)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["promotion.after=production"], "after"),
        (["promotion.after=stagin"], "promotion.after.*'staging'"),
        (["promotion.after=null", "promotion.soak=1h"], "soak"),
        (["promotion.soak=1 day"], "soak"),
        (["promotion.soak=0h"], "soak"),
        (["+promotion.verify.failures.max=1"], "metrics_from"),
        (["promotion.metrics_from=http://localhost", "+promotion.verify.failures.max=1"], "query"),
        (["promotion.metrics_from=m.json", "+promotion.verify.failures.query=up"], "min"),
    ],
)
def test_incomplete_conditions_are_config_errors(config, words, key):
    own = [word.replace("promotion", "environment.promotion", 1) for word in words]
    with pytest.raises(FrameworkError, match=key) as error:
        config("+recipe=tiny", "environment=production", *own)
    assert error.value.exit_code == 2
    assert "Traceback" not in str(error.value)
