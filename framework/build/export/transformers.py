"""The tuned Hugging Face folder itself: served by PyTorch, with its adapter where it has one."""

import shutil
from pathlib import Path
from typing import ClassVar

from framework.build.export import Export
from framework.core.errors import StepError
from framework.core.store import RECORD


class Transformers(Export):
    """Ship the folder as it is: the way to production for every tuning method and architecture.

    transformers and vLLM open it; where it has a folder ``adapter/``, peft puts that on
    (``PeftModel.from_pretrained(base, folder / "adapter")``), but for bottleneck adapters, which
    only ``framework.build.engine.attached_adapter`` knows. Slower on a CPU than an ONNX export.
    """

    engine: ClassVar[str] = "torch"
    tasks: ClassVar[tuple[str, ...]] = (
        "causal-lm",
        "sequence-classification",
        "multi-label-classification",
        "token-classification",
        "seq2seq",
        "image-text-classification",
    )
    unmerged: ClassVar[tuple[str, ...]] = tasks

    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Copy the folder; see the base class."""
        if precision != "fp32":
            raise StepError(
                f"export=transformers ships float32 and cannot write {precision}; set compression=none"
            )
        shutil.copytree(model, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD))
