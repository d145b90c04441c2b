"""Cast an exported float32 model to 16-bit weights; shared by ``fp16`` and ``bf16``.

Knows graphs and folders; not which of the two types suits a model.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from framework.build.compression import Exported
from framework.build.compression.calibration import write_decisions
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet
from framework.core.store import RECORD

Kind = Literal["fp16", "bf16"]
DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
"""PyTorch's names."""
GRAPHS = ("onnxruntime", "tensorrt")
"""The engines that read ``model.onnx``."""


def half_requires(engine: str) -> dict[str, str]:
    """Return the distributions that cast ONNX graphs, with their extra; other engines need none."""
    # ModelOpt's own extra for ONNX would bring onnxruntime-gpu beside onnxruntime.
    names = ("nvidia-modelopt", "lief", "onnx-graphsurgeon", "onnxslim", "polygraphy")
    return dict.fromkeys(names, "compress") if engine in GRAPHS else {}


def write_half(exported: Exported, output: Path, kind: Kind, **choices: Any) -> None:
    """Write *exported* with 16-bit weights, in the format of its engine.

    Args:
        exported: the float32 export.
        output: an empty folder.
        kind: the type of the weights.
        choices: further arguments of ModelOpt's ``convert_to_mixed_precision``, for graphs.

    Raises:
        StepError: the graph cannot be cast, or a weight overflows.
    """
    engine = exported.export.engine
    if engine in GRAPHS:
        _cast_graph(exported, output, kind, **choices)
    elif engine == "torch":
        _cast_weights(exported, output, kind)
    else:
        exported.export.write(exported.source, output, precision=kind)
        write_decisions(output, precision=kind)


def _cast_graph(exported: Exported, output: Path, kind: Kind, **choices: Any) -> None:
    """Write the graph with 16-bit weights and products; its inputs and outputs stay float32.

    NVIDIA ModelOpt's AutoCast keeps a node in float32 if its constants or measured activations exceed the
    type's range.
    """
    import onnx

    apart = shutil.ignore_patterns("model.onnx*", "*.engine", RECORD)
    shutil.copytree(exported.folder, output, dirs_exist_ok=True, ignore=apart)
    with quiet():
        from modelopt.onnx.autocast import convert_to_mixed_precision

        graph = str(exported.folder / "model.onnx")
        try:
            cast = convert_to_mixed_precision(
                graph,
                kind,
                keep_io_types=True,
                providers=["cpu"],  # a new list: AutoCast changes it in place
                op_types_to_include=["Gather"],  # embeddings: their token ids would count as large values
                **choices,
            )
        except Exception as error:  # ModelOpt has no exceptions of its own
            first_line = str(error).partition("\n")[0] or type(error).__name__
            raise StepError(
                f"compression={kind}: the graph cannot be cast ({first_line}); set compression=none"
            ) from error
    # Shapes recorded by the exporter contradict those of the cast graph.
    del cast.graph.value_info[:]
    try:
        onnx.save(cast, output / "model.onnx")
    except ValueError as error:  # protobuf's limit for one file
        raise StepError(
            f"compression={kind}: the graph exceeds 2 GB even with 16-bit weights; set compression=none"
        ) from error
    kept = [
        tensor.name
        for tensor in cast.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
    ]
    write_decisions(output, precision=kind, float32_weights=sorted(kept))


def _cast_weights(exported: Exported, output: Path, kind: Kind) -> None:
    """Write the Hugging Face folder with 16-bit weights; PyTorch then computes in that type."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(exported.folder, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD))
    dtype = getattr(torch, DTYPES[kind])
    for file in sorted(output.rglob("*.safetensors")):
        weights = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in load_file(file).items()
        }
        if overflowing := [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]:
            raise StepError(f"compression={kind}: values of {overflowing[0]} overflow; set compression=bf16")
        save_file(weights, file, {"format": "pt"})
    config = output / "config.json"
    content = json.loads(config.read_text(encoding="utf-8")) | {"dtype": DTYPES[kind]}
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    write_decisions(output, precision=kind)
