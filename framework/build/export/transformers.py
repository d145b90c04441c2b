"""Release the tuned Hugging Face folder itself, with its adapter if it has one, for PyTorch."""

import shutil
from pathlib import Path
from typing import ClassVar

from framework.build.export import Export
from framework.core.errors import StepError
from framework.core.store import RECORD


class Transformers(Export):
    """Release the Hugging Face folder; works for every tuning method and architecture.

    transformers and vLLM open it. An adapter that cannot be merged is in ``adapter/``, and peft loads it with
    ``PeftModel.from_pretrained(base, folder / "adapter")``. Only bottleneck adapters need
    ``framework.build.engine.attached_adapter`` instead. It is slower on a CPU than an ONNX export.
    """

    engine: ClassVar[str] = "torch"
    tasks: ClassVar[tuple[str, ...]] = (
        "causal-lm",
        "sequence-classification",
        "multi-label-classification",
        "token-classification",
        "seq2seq",
        "image-text-classification",
        "text-embedding",
    )
    unmerged: ClassVar[tuple[str, ...]] = tasks

    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Copy the folder; see the base class."""
        if precision != "fp32":
            raise StepError(
                f"export=transformers supports only float32, not {precision}; set compression=none"
            )
        shutil.copytree(model, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD))
