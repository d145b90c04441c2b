"""Export decoders to ONNX with a KV cache, with onnxruntime-genai's model builder."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from framework.build.export import Export
from framework.build.export.companion_files import copy_companions
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet


class OnnxGenai(Export):
    """``model.onnx`` and ``genai_config.json`` for onnxruntime-genai."""

    engine: ClassVar[str] = "genai"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)

    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Build the graph for the CPU; see the base class."""
        import tempfile

        from onnxruntime_genai.models.builder import create_model, parse_extra_options

        # Never run code from a model folder.
        options = ["hf_remote=false", *([f"block_size={block_size}"] if precision == "int4" else [])]
        with tempfile.TemporaryDirectory() as cache, quiet(), _without_git():
            arguments = ("", str(model), str(output), precision, "cpu", cache)
            try:
                create_model(*arguments, **parse_extra_options(*arguments, options))
            except (NotImplementedError, ValueError, KeyError) as error:
                architecture = json.loads((model / "config.json").read_text()).get("architectures")
                raise StepError(
                    f"export=onnx-genai does not support {architecture}: {error}; choose another export"
                ) from error
        copy_companions(model, output)


@contextlib.contextmanager
def _without_git() -> Iterator[None]:
    """Hide Git from the builder.

    It would write the commit of whatever repository holds the virtual environment into ``model.onnx``, and
    the same inputs would give other bytes after each commit.
    """
    previous = os.environ.get("GIT_DIR")
    os.environ["GIT_DIR"] = os.devnull
    try:
        yield
    finally:
        if previous is None:
            del os.environ["GIT_DIR"]
        else:
            os.environ["GIT_DIR"] = previous
