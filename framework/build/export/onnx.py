"""Export classifiers, embedding models and language models to plain ONNX with PyTorch's exporter."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.export import Export
from framework.build.export.companion_files import copy_companions
from framework.build.export.tracing import Traceable, decoder, encoder, unsupported_cache
from framework.core.error_text import first_line
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

GRAPH = "model.onnx"


class Onnx(Export):
    """``model.onnx`` for ONNX Runtime, with dynamic batch and sequence sizes.

    Classifiers have the inputs ``input_ids`` and ``attention_mask``, int64 (batch, sequence). Their output
    ``logits`` is float32 (batch, classes), or (batch, sequence, tags) for token classification. A
    text-embedding model has ``embeddings`` instead, (batch, dimensions), each of length 1. Language models
    also have their key-value cache as inputs and outputs: see ``framework.build.export.tracing.decoder``.

    Tracing takes about 4 s per layer on one core: 112 s for the 30 layers of SmolLM2-135M.
    ``export=onnx-genai`` is faster.
    """

    engine: ClassVar[str] = "onnxruntime"
    tasks: ClassVar[tuple[str, ...]] = (
        "causal-lm",
        "sequence-classification",
        "multi-label-classification",
        "token-classification",
        "text-embedding",
    )
    unmerged: ClassVar[tuple[str, ...]] = tasks[1:]

    opset: int = 20
    """ONNX operator set version. Current ONNX Runtime and TensorRT both support 20."""

    def unsupported(self, model_config: Mapping[str, Any]) -> str:
        """Return that the model keeps a state without positions; see the base class."""
        return unsupported_cache("onnx", model_config)

    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Trace the model and write it in float32, or with 4- or 8-bit weights; see the base class."""
        from framework.build.engine.torch import open_model

        source = open_model(model)
        with quiet():
            if source.can_generate():
                # Eager attention is the fastest to trace, and as fast to run.
                source.set_attn_implementation("eager")
                traceable = decoder(source, "onnx")
            else:
                traceable = encoder(source)
            program = self._trace(traceable, type(source).__name__)
        _name_axes(program, traceable)
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # stack traces with this machine's paths
        program.save(output / GRAPH)
        copy_companions(model, output)
        if precision != "fp32":
            self._compress(output, output, precision, block_size)

    def compress_weights(
        self, exported: Path, model: Path, output: Path, precision: str, block_size: int = 32
    ) -> None:
        """Compress the weights of the graph in *exported*; see the base class."""
        self._compress(exported, output, precision, block_size)
        copy_companions(model, output)

    def _compress(self, exported: Path, output: Path, precision: str, block_size: int) -> None:
        from framework.build.export.onnx_weights import compress

        if precision not in ("int8", "int4"):
            raise StepError(f"export=onnx does not support {precision} weights; set compression=int8-weight")
        # 8-bit weights need fewer scales.
        size = None if precision == "int8" else block_size
        compress(exported / GRAPH, output / GRAPH, int(precision[3:]), size)

    def _trace(self, traceable: Traceable, architecture: str) -> "ONNXProgram":
        import torch
        from torch.export import Dim

        dims: dict[str, Any] = {name: Dim(name) for name in ("batch", "past")}
        # torch.export infers the bounds of the sequence, and that total is a sum; it rejects explicit ones.
        free = [
            {axis: dims.get(name, Dim.DYNAMIC) for axis, name in axes.items()}
            for axes in traceable.inputs.values()
        ]
        shapes = tuple(
            [free.pop(0) for _ in argument] if isinstance(argument, list) else free.pop(0)
            for argument in traceable.arguments
        )
        try:
            with torch.inference_mode():
                traced = torch.export.export(
                    traceable.module, traceable.arguments, dynamic_shapes=shapes, strict=False
                )
            program = torch.onnx.export(
                traced,
                dynamo=True,
                input_names=list(traceable.inputs),
                output_names=list(traceable.outputs),
                opset_version=self.opset,
                verbose=False,
            )
        except Exception as error:  # a model's code may raise anything while it is traced
            raise StepError(
                f"export=onnx does not support {architecture}: {_root_cause(error)}; set export=transformers"
            ) from error
        if program is None:
            raise StepError("export=onnx: PyTorch returned no graph; set export=transformers")
        return program


def _root_cause(error: BaseException) -> str:
    """Return the first line of the original error, which PyTorch wraps in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _name_axes(program: "ONNXProgram", traceable: Traceable) -> None:
    """Replace PyTorch's symbols for dynamic axes by our names."""
    import onnx_ir

    graph = program.model.graph
    names = {
        str(value.shape[axis]): name
        for value, axes in zip(graph.inputs, traceable.inputs.values(), strict=True)
        for axis, name in axes.items()
        if value.shape is not None
    }
    values = [*graph.inputs, *(out for node in graph.all_nodes() for out in node.outputs)]
    for value in values:
        for axis, size in enumerate(value.shape or ()):
            if isinstance(size, onnx_ir.SymbolicDim) and size.value is not None and value.shape is not None:
                expression = re.sub(r"\w+", lambda symbol: names.get(symbol[0], symbol[0]), size.value)
                value.shape[axis] = onnx_ir.SymbolicDim(expression)
