"""torchrun's arguments, on one machine and on several."""

from pathlib import Path

import pytest

from framework.build.model.tiny import TinyCausalLM
from framework.build.parallelism.ddp import DDP
from framework.build.training.launch import _torchrun_arguments
from framework.build.training.rank_job import RankJob
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.build.tuning.lora import LoRA


def job(tmp_path: Path, **layout: int) -> Path:
    """Write the job of eight ranks; return its file."""
    scratch = tmp_path / ("0123456789ab" * 5)
    run = TrainingRun(
        model=TinyCausalLM(name="tiny", license="x", parameters=1e5),
        tuning=LoRA(),
        parallelism=DDP(replicas=8, **layout),
        device="cpu",
        folders=Folders(model=tmp_path, data=tmp_path, output=tmp_path, scratch=scratch),
        seed=0,
    )
    written = RankJob.of(Supervised(), run)
    written.write(scratch / "tune.json")
    assert RankJob.read(scratch / "tune.json") == written
    return scratch / "tune.json"


def test_single_machine_rendezvous_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_MASTER_ADDR", "elsewhere")  # Trainer sets it for one machine too
    arguments = _torchrun_arguments(job(tmp_path))
    assert {"--nnodes=1:1", "--nproc-per-node=8", "--rdzv-endpoint=127.0.0.1:0"} <= set(arguments)
    assert "--local-addr=127.0.0.1" in arguments


@pytest.mark.parametrize(("number", "host"), [("0", 1), ("3", 0)])
def test_several_machines_rendezvous_at_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str, host: int
) -> None:
    for name, value in (("NODE_RANK", number), ("MASTER_ADDR", "job-node-0-0.job"), ("MASTER_PORT", "29400")):
        monkeypatch.setenv(f"PET_{name}", value)
    arguments = _torchrun_arguments(job(tmp_path, machines=4, min_machines=2))
    assert {"--nnodes=2:4", "--nproc-per-node=2", "--max-restarts=3", "--shutdown-timeout=25"} <= set(
        arguments
    )
    assert {"--rdzv-backend=c10d", "--rdzv-endpoint=job-node-0-0.job:29400"} <= set(arguments)
    assert "--rdzv-id=0123456789ab" in arguments
    (conf,) = (word for word in arguments if word.startswith("--rdzv-conf="))
    assert f"is_host={host}," in conf
