"""Layouts on fewer machines, after some were lost."""

import pytest
from pydantic import ValidationError

from framework.build.parallelism import Parallelism
from framework.build.parallelism.ddp import DDP
from framework.build.parallelism.deepspeed import DeepSpeed
from framework.build.parallelism.mesh import Mesh
from framework.build.parallelism.pipeline import Pipeline
from framework.build.parallelism.single import Single


@pytest.mark.parametrize(
    "layout",
    [
        DDP(replicas=8, machines=4, min_machines=1),
        DeepSpeed(replicas=8, machines=4, min_machines=1),
        Mesh(data=4, tensor=2, machines=4, min_machines=1),
        Pipeline(data=4, stages=2, machines=4, min_machines=1),
    ],
    ids=lambda layout: type(layout).__name__,
)
def test_fewer_machines_keep_their_processes_per_machine(layout: Parallelism) -> None:
    for machines in (1, 2, 3, 4):
        fewer = layout.on_machines(machines)
        assert (fewer.nodes, fewer.processes) == (machines, 2 * machines)
        assert fewer.data_parallel * 4 == layout.data_parallel * machines
        assert fewer.ways <= layout.ways


def test_least_nodes_defaults_to_all_machines() -> None:
    assert DDP(replicas=4, machines=2).least_nodes == 2
    assert DDP(replicas=4, machines=2, min_machines=1).least_nodes == 1
    assert (Single().least_nodes, Single().on_machines(1)) == (1, Single())


@pytest.mark.parametrize(
    "fields", [{"replicas": 4, "machines": 2, "min_machines": 3}, {"data": 3, "tensor": 2, "machines": 2}]
)
def test_invalid_min_machines_is_rejected(fields: dict[str, int]) -> None:
    kind = DDP if "replicas" in fields else Mesh
    with pytest.raises(ValidationError, match="'min_machines'"):
        kind(**{"min_machines": 1, **fields})


def test_rule_suggests_rows_that_all_machine_counts_divide(plan, fixes) -> None:
    layout = (
        "parallelism=ddp",
        "parallelism.replicas=3",
        "parallelism.machines=3",
        "training.precision=fp32",
    )
    words = ("+recipe=tiny", *layout, "parallelism.min_machines=1", "training.micro_batch_size=4")
    fits = ("training.global_batch_size=24", "training.gradient_accumulation_steps=1")
    for batch in ((), ("training.global_batch_size=12",)):
        problem = fixes(*words, *batch)[0]
        assert problem.key == "parallelism.min_machines"
        assert problem.overrides == (" ".join(fits),)
    assert plan(*words, *fits).steps
