"""GGUF, the format of llama.cpp: not supported; ``run plan`` gives the reason and alternatives."""

from pathlib import Path
from typing import ClassVar

from framework.build.export import Export
from framework.core.errors import StepError
from framework.core.problem import Problem


class Gguf(Export):
    """Not supported: the converter is a script in llama.cpp's repository and in no Python package."""

    engine: ClassVar[str] = "llama.cpp"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    impossible: ClassVar[Problem | None] = Problem(
        "export",
        "llama.cpp publishes no package that converts a model to GGUF",
        ("export=onnx-genai compression=int4-weight",),
        "publish with export=transformers and run llama.cpp's convert_hf_to_gguf.py on that folder",
    )

    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Raise an error; the plan has refused this option before.

        Raises:
            StepError: always.
        """
        raise StepError(str(self.impossible))
