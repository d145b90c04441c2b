"""Clients that are no dependency: litellm and langchain, in an environment of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling_model import with_tools
from server_process import HELLO, ROOT, serving

PACKAGES = ("litellm==1.110.2", "langchain-openai==1.7.4")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the clients; GITUNE_CLIENTS_VENV names an environment that has them already."""
    if found := os.environ.get("GITUNE_CLIENTS_VENV"):
        return Path(found) / "bin" / "python"
    folder = tmp_path_factory.mktemp("clients")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    done = subprocess.run(
        [folder / "bin" / "pip", "install", "--quiet", *PACKAGES], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"pip cannot install {', '.join(PACKAGES)}: {done.stderr[-200:]}")
    return folder / "bin" / "python"


def answers(python: Path, home: Path, *arguments: str) -> dict[str, Any]:
    """Return what the clients print."""
    script = str(ROOT / "tests" / "other_clients.py")
    environment = {"PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(home)}
    done = subprocess.run(
        [python, script, *arguments], capture_output=True, text=True, env=environment, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.slow
def test_litellm_and_langchain_work(python: Path, tiny_genai: Path, tmp_path: Path) -> None:
    model = with_tools(tiny_genai, tmp_path / "copy")
    with serving(model, "genai", "causal-lm", tmp_path, max_new_tokens=160) as served:
        said = answers(python, tmp_path, f"{served.url}/v1")
        create = served.client.chat.completions.create
        own = create(model="tiny", messages=HELLO, max_tokens=8).choices[0].message.content
        continued = served.client.completions.create(model="tiny", prompt="hello world", max_tokens=8)
    first, second = said["litellm"], said["langchain"]
    assert [first["chat"], first["stream"], second["chat"], second["stream"], second["response"]] == [own] * 5
    assert first["text"] == continued.choices[0].text
    assert {first["arguments"]["n"], second["schema"], second["call"]} <= {1, 2}


@pytest.mark.slow
def test_they_read_vectors_and_rankings(python: Path, tiny_embedding: Path, tmp_path: Path) -> None:
    texts = ["a good film", "nothing", "a bad film"]
    with serving(tiny_embedding, "onnxruntime", "text-embedding", tmp_path) as served:
        said = answers(python, tmp_path, f"{served.url}/v1", ",".join(texts))
        found = served.client.embeddings.create(model="tiny", input=texts)
    own = np.array([each.embedding for each in found.data])
    for vectors in (said["litellm"]["vectors"], said["langchain"]["vectors"]):
        np.testing.assert_allclose(vectors, own, atol=1e-5)
    np.testing.assert_allclose(said["langchain"]["query"], own[0], atol=1e-5)
    (first, score), (second, next_score) = said["litellm"]["ranked"]
    assert (first, second) == (0, 1 + int(np.argmax(own[1:] @ own[0])))
    assert (score, next_score) == pytest.approx((1, float(np.max(own[1:] @ own[0]))), abs=1e-5)
