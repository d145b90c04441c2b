"""The recipes on real models and data, from an empty folder to a served answer."""

import contextlib
import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
MINUTES = 60
# CPUs without bf16 instructions emulate them, 26 times slower than fp32 where that was measured.
BF16 = re.search(r"\b(avx512_bf16|amx_bf16)\b", Path("/proc/cpuinfo").read_text())
PRECISION = () if BF16 else ("training.precision=fp32",)


def release(folder: Path, name: str) -> dict:
    return json.loads((folder / "environments" / "dev" / name / "release.lock").read_text())


@pytest.fixture(scope="module")
def quickstart(run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart")
    done = run(folder, "+recipe=quickstart", *PRECISION, timeout=40 * MINUTES)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.timeout(45 * MINUTES)
def test_quickstart_learns_and_keeps_it_in_four_bits(quickstart: Path) -> None:
    metrics = release(quickstart, "quickstart")["metrics"]
    assert metrics["base.exact_match"] < 0.1
    assert metrics["tuned.exact_match"] >= 0.6
    assert metrics["int4.exact_match"] >= 0.5
    assert metrics["tuned.perplexity"] < 1.2 < metrics["base.perplexity"]
    assert metrics["fp32.agreement"] >= 0.99
    assert metrics["int4.size_bytes"] < metrics["tuned.size_bytes"] / 5


def test_quickstart_rerun_builds_nothing(run, quickstart: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (quickstart / ".gitune/store").rglob("artifact.json")}
    done = run(quickstart, "+recipe=quickstart", *PRECISION)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\[[ \d]+/\d+\]", done.stdout, re.MULTILINE) is None  # no step ran
    assert {path: path.stat().st_mtime_ns for path in before} == before


def ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url).status_code == 200
    return False


@contextlib.contextmanager
def served(start, folder: Path) -> Iterator[OpenAI]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start(folder, "serve", "+recipe=quickstart", *PRECISION, f"serving.port={port}")
    deadline = time.monotonic() + 2 * MINUTES
    while not ready(f"http://127.0.0.1:{port}/ready"):
        assert time.monotonic() < deadline
        assert server.poll() is None, server.stdout.read()
        time.sleep(0.5)
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    yield client
    client.close()
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0


def test_served_quickstart_answers_unseen_rows(start, quickstart: Path) -> None:
    """OpenAI's client asks for rows of the test split."""
    file = next((quickstart / ".gitune/store/encode").glob("*/test/00000.jsonl"))
    rows = [json.loads(line)["messages"] for line in file.read_text().splitlines()[:10]]
    with served(start, quickstart) as client:
        answers = [
            client.chat.completions.create(model="quickstart", messages=row[:-1], max_tokens=128)
            for row in rows
        ]
    exact = sum(
        a.choices[0].message.content == row[-1]["content"] for a, row in zip(answers, rows, strict=True)
    )
    assert exact >= 5
    assert all(answer.usage.completion_tokens > 5 for answer in answers)


@pytest.mark.timeout(45 * MINUTES)
def test_sentiment_learns_and_keeps_it_in_eight_bits(run, tmp_path: Path) -> None:
    done = run(tmp_path, "+recipe=sentiment", *PRECISION, timeout=40 * MINUTES)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = release(tmp_path, "sentiment")["metrics"]
    assert metrics["base.accuracy"] < 0.5
    assert metrics["tuned.accuracy"] >= 0.7
    assert metrics["int8.accuracy"] >= metrics["tuned.accuracy"] - 0.02
    assert metrics["int8.size_bytes"] < metrics["tuned.size_bytes"] / 3


@pytest.mark.timeout(45 * MINUTES)
def test_three_phases_learn_the_task_and_measure_forgetting(run, tmp_path: Path) -> None:
    done = run(tmp_path, "+recipe=finance-three-phase", *PRECISION, timeout=40 * MINUTES)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = release(tmp_path, "finance-three-phase")["metrics"]
    assert metrics["base.exact_match"] < 0.1
    assert metrics["tuned.exact_match"] >= 0.6
    # Each phase improves on its own rows over the phase before.
    assert metrics["general.general_perplexity"] < metrics["base.general_perplexity"]
    assert metrics["domain.domain_perplexity"] < metrics["general.domain_perplexity"]
    assert metrics["tuned.perplexity"] < metrics["domain.perplexity"]
    assert metrics["tuned.general_perplexity"] < 60


@pytest.mark.timeout(45 * MINUTES)
def test_entities_are_found_in_texts_on_unseen_countries(run, tmp_path: Path) -> None:
    done = run(tmp_path, "+recipe=entities", *PRECISION, timeout=40 * MINUTES)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = release(tmp_path, "entities")["metrics"]
    assert metrics["base.span_f1"] < 0.1
    assert metrics["tuned.span_f1"] >= 0.8
    assert metrics["int8.span_f1"] >= metrics["tuned.span_f1"] - 0.02
    assert metrics["int8.size_bytes"] < metrics["tuned.size_bytes"] / 3
