"""schemathesis, an independent judge, compares the OpenAPI document with what a real server answers."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from server_process import serving

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
VERSION = "4.32.5"
TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def schemathesis(tmp_path_factory) -> Path:
    """The command, in a virtual environment of its own."""
    folder = tmp_path_factory.mktemp("schemathesis")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    packages = ("-c", str(ROOT / "constraints.txt"), f"schemathesis=={VERSION}")
    done = subprocess.run(
        [folder / "bin" / "pip", "install", "-q", *packages], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"schemathesis cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return folder / "bin" / "schemathesis"


def judge(schemathesis: Path, url: str, folder: Path) -> None:
    """Assert that it tests every operation, and finds nothing."""
    key = "Authorization", "Bearer s3cret"
    paths = httpx.get(f"{url}/openapi.json", headers=dict([key])).json()["paths"]
    options = ("-n", "25", "--seed", "1", "-H", ": ".join(key))
    hooks = str(ROOT / "tests" / "data" / "schemathesis_hooks.py")
    done = subprocess.run(
        [schemathesis, "run", f"{url}/openapi.json", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", "SCHEMATHESIS_HOOKS": hooks},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    tested = re.search(r"Tested:\s+(\d+)", done.stdout)
    assert tested is not None, done.stdout
    assert int(tested[1]) == sum(map(len, paths.values())) - 1, "all but the document itself"


def test_chat_answers_as_documented(schemathesis, tiny_llama, export_genai, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITUNE_API_KEY", "s3cret")
    model = shutil.copytree(tiny_llama, tmp_path / "llama")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 65536}))
    (model / "chat_template.jinja").write_text(TEMPLATE)
    exported = export_genai(model, tmp_path / "exported", "fp32")
    options = {"max_new_tokens": 4, "max_wait_seconds": 60, "jobs": {"max_queued": 100_000}}
    with serving(exported, "genai", "causal-lm", tmp_path, **options) as served:
        judge(schemathesis, served.url, tmp_path)


def test_classifier_answers_as_documented(schemathesis, tiny_bert, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITUNE_API_KEY", "s3cret")
    with serving(tiny_bert, "onnxruntime", "sequence-classification", tmp_path) as served:
        judge(schemathesis, served.url, tmp_path)


def test_embedder_answers_as_documented(schemathesis, tiny_embedding, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITUNE_API_KEY", "s3cret")
    with serving(tiny_embedding, "onnxruntime", "text-embedding", tmp_path) as served:
        judge(schemathesis, served.url, tmp_path)
