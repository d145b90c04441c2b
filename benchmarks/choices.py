"""CPU seconds and memory of precision, packing, checkpointing and layouts, relative to the default.

Uses the model of ``benchmarks.training`` and fewer of its rows. Each choice trains for 3 and for 23 steps;
the difference is 20 steps without start-up.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.training import one, write_model, write_rows

_FEW, _MANY = 3, 23
_MIB = 2**20
_FULL = {"_target_": "framework.build.tuning.full.Full"}
_QLORA = {
    "_target_": "framework.build.tuning.lora.LoRA",
    "rank": 8,
    "alpha": 16,
    "base_precision": "nf4",
    "double_quantization": True,
}


def _layout(target: str, batch: int, accumulation: int = 1, **fields: Any) -> dict[str, Any]:
    """Return full tuning in a layout of two processes, with 8 rows per step like all others."""
    training = {"micro_batch_size": batch, "gradient_accumulation_steps": accumulation}
    layout = {"_target_": f"framework.build.parallelism.{target}", **fields}
    return {"tuning": _FULL, "training": training, "parallelism": layout}


CHOICES: dict[str, dict[str, Any]] = {
    "lora, bf16": {},
    "lora, fp32": {"training": {"precision": "fp32"}},
    "lora, bf16, padded": {"training": {"packing": False}},
    "lora, bf16, gradient checkpointing": {"training": {"gradient_checkpointing": True}},
    "qlora, bf16": {"tuning": _QLORA},
    "full, bf16": {"tuning": _FULL},
    "full, bf16, lion": {"tuning": _FULL, "training": {"optimizer": "lion"}},
    "full, bf16, gradient checkpointing": {"tuning": _FULL, "training": {"gradient_checkpointing": True}},
    "full, bf16, ddp": _layout("ddp.DDP", 4),
    "full, bf16, deepspeed-2": _layout("deepspeed.DeepSpeed", 4, stage=2),
    "full, bf16, deepspeed-3": _layout("deepspeed.DeepSpeed", 4, stage=3),
    "full, bf16, fsdp2": _layout("mesh.Mesh", 4, data=2, tensor=1),
    "full, bf16, tensor": _layout("mesh.Mesh", 8, data=1, tensor=2),
    "full, bf16, pipeline": _layout("pipeline.Pipeline", 4, 2),
}


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield CPU seconds and memory of 20 steps, relative to the first choice."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model")
        write_rows(folder / "data", 8 * _MANY * 2)
        base: dict[str, float] = {}
        for choice, options in CHOICES.items():
            cost = _measure(folder, options)
            base = base or cost
            yield f"{choice}: CPU seconds", cost["seconds"] / base["seconds"], None
            yield f"{choice}: peak MiB of a process", cost["peak"] / _MIB, None


def _measure(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """Return CPU seconds and peak bytes of 20 optimizer steps with 8 rows each."""
    training = {"micro_batch_size": 8, **options.get("training", {})}
    few, many = (
        one("ours", folder, {**options, "training": {**training, "max_steps": steps}})
        for steps in (_FEW, _MANY)
    )
    return {"seconds": many["seconds"] - few["seconds"], "peak": many["peak"]}
