"""LoRA adapters that are served by name beside their base."""

import concurrent.futures
import json
import re
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from lora_adapters import write_adapter
from server_process import HELLO, Served, run_to_end, serving, write_release

from framework.build.engine import open_engine
from framework.core import metric_names as metrics
from framework.core.filesystem import tree_digest
from framework.core.modelstore import push
from framework.requestlog import version_of
from framework.requestlog.log_folder import LogFolder
from framework.serving.engine.tokenization import open_tokenizer, prompt_ids

pytestmark = pytest.mark.slow

NAMES = ("tiny", "first", "second")
PROMPTS = ["hello world", "the quick brown fox", "fox", "hello hello hello"]


@pytest.fixture(scope="module")
def folders(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model that each name answers like; beside a merged one is its adapter's own folder."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(NAMES[1:]):
        write_adapter(tiny_llama, folder / name / "adapter", folder / name / "merged", seed)
    return {"tiny": tiny_llama, **{name: folder / name / "merged" for name in NAMES[1:]}}


@pytest.fixture(scope="module")
def expected(folders: dict[str, Path]) -> dict[tuple[str, str], str]:
    """Each model's own greedy answer to each prompt, by the torch engine on its merged weights."""
    answers = {}
    for name, folder in folders.items():
        engine, tokenizer = open_engine("torch", folder, 1), open_tokenizer(folder)
        for prompt in PROMPTS:
            ids = prompt_ids(tokenizer, [{"role": "user", "content": prompt}])
            tokens = list(engine.generate(ids, 16))
            answers[name, prompt] = tokenizer.decode(tokens, skip_special_tokens=True)
    assert len(set(answers.values())) > len(PROMPTS), "the adapters must change the answers"
    return answers


@pytest.fixture(scope="module", params=["torch", "openvino"])
def served(request: Any, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    """A server of the base with one adapter from a folder, and one from a store."""
    model = folders["tiny"]
    if request.param == "openvino":
        pytest.importorskip("openvino_genai")
        model = request.getfixturevalue("tiny_openvino")
    folder = tmp_path_factory.mktemp("adapted")
    uri, _ = push(folders["second"].parent / "adapter", f"file://{folder}/published")
    adapters = {"first": str(folders["first"].parent / "adapter"), "second": uri}
    options = {"adapters": adapters, "max_wait_seconds": 120, "max_batch_size": 8}
    with serving(model, request.param, "causal-lm", folder, **options) as running:
        yield running


def ask(served: Served, model: str, prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    answer = served.client.chat.completions.create(model=model, messages=messages, max_tokens=16)
    assert answer.model == model
    return answer.choices[0].message.content


def test_each_adapter_answers_like_its_merged_model(served: Served, expected) -> None:
    asked = [(name, prompt) for prompt in PROMPTS for name in NAMES]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:  # names alternate, and wait for each other
        answers = list(pool.map(lambda pair: ask(served, *pair), asked))
    assert dict(zip(asked, answers, strict=True)) == expected
    assert ask(served, "tiny:second", PROMPTS[0]) == expected["second", PROMPTS[0]]
    assert ask(served, "tiny", PROMPTS[0]) == expected["tiny", PROMPTS[0]]


def test_logs_and_metrics_name_the_adapter_that_answered(folders, tmp_path: Path) -> None:
    adapters, log = {"first": str(folders["first"].parent / "adapter")}, tmp_path / "log"
    options = {"adapters": adapters, "request_log": {"folder": str(log)}, "max_wait_seconds": 120}
    options["access_log"] = "json"
    with serving(folders["tiny"], "torch", "causal-lm", tmp_path, **options) as running:
        complete = running.client.chat.completions.create
        first = 'adapter="first"'
        assert running.sample(metrics.ADAPTER_TOKENS, first) == 0
        assert running.sample(f"{metrics.ADAPTER_FIRST_TOKEN_SECONDS}_count", first) == 0
        answers = [complete(model=name, messages=HELLO, max_tokens=4) for name in ("tiny", "tiny:first")]
        with pytest.raises(openai.NotFoundError):
            complete(model="other", messages=HELLO)
        used = answers[1].usage
        for kind, count in (("prompt", used.prompt_tokens), ("completion", used.completion_tokens)):
            assert running.sample(metrics.ADAPTER_TOKENS, first, f'kind="{kind}"') == count > 0
        assert running.sample(metrics.ADAPTER_REQUESTS, first, 'code="200"') == 1
        assert running.sample(f"{metrics.ADAPTER_FIRST_TOKEN_SECONDS}_count", first) == 1
        page = httpx.get(f"{running.url}/metrics").text
        assert set(re.findall(r'adapter="([^"]*)"', page)) == {"first"}
        running.process.terminate()
        _, errors = running.process.communicate(timeout=30)
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith('{"time"')]
    assert [line["adapter"] for line in lines if line["completion_tokens"]] == [None, "first"]
    rows = {row["id"]: row for _, _, row in LogFolder(str(log)).read("requests")}
    named = {key: f"fp_{version_of(row['digest'])}" for key, row in rows.items()}
    assert named == {answer.id: answer.system_fingerprint for answer in answers}
    assert len({*named.values()}) == 2
    assert [rows[answer.id]["adapter"] for answer in answers] == [None, "first"]


def test_adapters_are_listed(served: Served) -> None:
    assert [model.id for model in served.client.models.list()] == list(NAMES)
    assert served.client.models.retrieve("tiny:first").id == "first"
    with pytest.raises(openai.NotFoundError, match="'third' does not exist"):
        served.client.chat.completions.create(model="third", messages=HELLO)


def test_pods_fetch_published_adapters_before_the_server_starts(folders, tmp_path: Path) -> None:
    uri, digest = push(folders["first"].parent / "adapter", f"file://{tmp_path}/published")
    write_release(folders["tiny"], "torch", "causal-lm", tmp_path, adapters={"first": uri})
    assert run_to_end(tmp_path, "--fetch-only") == (0, "")
    assert tree_digest(tmp_path / "adapters" / digest.removeprefix("sha256:")) == digest


def test_published_adapter_is_verified(folders: dict[str, Path], tmp_path: Path) -> None:
    uri, _ = push(folders["first"].parent / "adapter", f"file://{tmp_path}/published")
    config = Path(uri.removeprefix("file://")) / "adapter_config.json"
    config.write_text(config.read_text() + " ")
    write_release(folders["tiny"], "torch", "causal-lm", tmp_path, adapters={"first": uri})
    code, errors = run_to_end(tmp_path)
    assert code != 0
    assert "adapter_config.json" in errors
    assert "Traceback" not in errors
