"""What torchrun is told, on one machine and where several meet."""

import json
from pathlib import Path

import pytest

from framework.build.training.launch import _arguments


def order(tmp_path: Path, **given: int) -> Path:
    scratch = tmp_path / ("0123456789ab" * 5)
    scratch.mkdir()
    content = {"processes": 8, "nodes": 1, "least_nodes": 1, "restarts": 3, "grace": 25, **given}
    (scratch / "tune.json").write_text(json.dumps(content))
    return scratch / "tune.json"


def test_one_machine_lets_nobody_else_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_MASTER_ADDR", "elsewhere")  # Trainer sets it for one machine too
    found = _arguments(order(tmp_path))
    assert {"--nnodes=1:1", "--nproc-per-node=8", "--rdzv-endpoint=127.0.0.1:0"} <= set(found)
    assert "--local-addr=127.0.0.1" in found


@pytest.mark.parametrize(("number", "host"), [("0", 1), ("3", 0)])
def test_several_meet_at_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str, host: int
) -> None:
    for name, value in (("NODE_RANK", number), ("MASTER_ADDR", "job-node-0-0.job"), ("MASTER_PORT", "29400")):
        monkeypatch.setenv(f"PET_{name}", value)
    found = _arguments(order(tmp_path, nodes=4, least_nodes=2))
    assert {"--nnodes=2:4", "--nproc-per-node=2", "--max-restarts=3", "--shutdown-timeout=25"} <= set(found)
    assert {"--rdzv-backend=c10d", "--rdzv-endpoint=job-node-0-0.job:29400"} <= set(found)
    assert "--rdzv-id=0123456789ab" in found
    (conf,) = (word for word in found if word.startswith("--rdzv-conf="))
    assert f"is_host={host}," in conf
