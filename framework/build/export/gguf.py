"""GGUF, the format of llama.cpp: not supported; ``run plan`` gives the reason and alternatives."""

from pathlib import Path
from typing import ClassVar

from framework.build.export import Export
from framework.core.errors import StepError


class Gguf(Export):
    """Not supported: the converter is a script in llama.cpp's repository and in no Python package."""

    engine: ClassVar[str] = "llama.cpp"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    impossible: ClassVar[str] = (
        "no package that llama.cpp publishes converts a model to GGUF; set export=onnx-genai with "
        "compression=int4-weight, or set export=transformers and run llama.cpp's own convert_hf_to_gguf.py "
        "on the published folder"
    )

    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Raise an error; the plan has refused this option before.

        Raises:
            StepError: always.
        """
        raise StepError(f"export=gguf: {self.impossible}")
