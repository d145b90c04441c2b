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
from lora_adapters import write_adapter
from server_process import serving

from framework.build.export.openvino import OpenVino
from framework.serving.access.key_file import hash_of

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


def judge(schemathesis: Path, url: str, folder: Path, examples: int = 15) -> None:
    """Assert that it tests every operation, with some examples of each, and finds nothing."""
    key = "Authorization", "Bearer s3cret"
    paths = httpx.get(f"{url}/openapi.json", headers=dict([key])).json()["paths"]
    options = ("-n", str(examples), "--seed", "1", "-H", ": ".join(key))
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


@pytest.fixture(scope="module")
def llama(tiny_llama: Path, tmp_path_factory) -> Path:
    """The tiny Llama with a context that any prompt fits into, and a template that takes tools."""
    model = shutil.copytree(tiny_llama, tmp_path_factory.mktemp("schemathesis-llama") / "llama")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 65536}))
    (model / "chat_template.jinja").write_text(TEMPLATE)
    return model


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """A file with the key that is used."""
    entry = {"name": "judge", "hash": hash_of("s3cret"), "requests_per_minute": 10**6}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [entry]}))
    return str(tmp_path / "keys.json")


@pytest.mark.parametrize("engine", ["genai", "openvino", "torch"])
def test_chat_answers_as_documented(schemathesis, llama, export_genai, tmp_path, keys, engine) -> None:
    options = {"max_new_tokens": 4, "max_wait_seconds": 60, "keys": keys}
    model, examples = llama, 6
    if engine == "genai":
        model, examples = export_genai(llama, tmp_path / "exported", "fp32"), 25
        options["jobs"] = {}
    elif engine == "openvino":
        model = tmp_path / "exported"
        model.mkdir()
        OpenVino().write(llama, model)
    else:
        write_adapter(llama, tmp_path / "adapter", tmp_path / "merged", 0)
        options["adapters"] = {"first": str(tmp_path / "adapter")}
    with serving(model, engine, "causal-lm", tmp_path, **options) as served:
        judge(schemathesis, served.url, tmp_path, examples)


def test_classifier_answers_as_documented(schemathesis, tiny_bert, tmp_path, keys) -> None:
    options = {"keys": keys, "jobs": {}}
    with serving(tiny_bert, "onnxruntime", "sequence-classification", tmp_path, **options) as served:
        judge(schemathesis, served.url, tmp_path)


def test_embedder_answers_as_documented(schemathesis, tiny_embedding, tmp_path, keys) -> None:
    options = {"keys": keys}
    with serving(tiny_embedding, "onnxruntime", "text-embedding", tmp_path, **options) as served:
        judge(schemathesis, served.url, tmp_path)
