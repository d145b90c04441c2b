"""Clients that are no dependency: litellm and langchain, in an environment of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.slow
def test_litellm_and_langchain_work(python: Path, tiny_genai: Path, tmp_path: Path) -> None:
    model = with_tools(tiny_genai, tmp_path / "copy")
    with serving(model, "genai", "causal-lm", tmp_path, max_new_tokens=160) as served:
        script = str(ROOT / "tests" / "other_clients.py")
        environment = {
            "PATH": os.environ["PATH"],
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "HOME": str(tmp_path),
        }
        done = subprocess.run(
            [python, script, f"{served.url}/v1"], capture_output=True, text=True, env=environment, timeout=200
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said = json.loads(done.stdout)
        create = served.client.chat.completions.create
        own = create(model="tiny", messages=HELLO, max_tokens=8).choices[0].message.content
        continued = served.client.completions.create(model="tiny", prompt="hello world", max_tokens=8)
    first, second = said["litellm"], said["langchain"]
    assert [first["chat"], first["stream"], second["chat"], second["stream"], second["response"]] == [own] * 5
    assert first["text"] == continued.choices[0].text
    assert {first["arguments"]["n"], second["schema"], second["call"]} <= {1, 2}
