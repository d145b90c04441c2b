"""Count how many bits the weights in a folder's files really take, whatever its name claims.

Weights are the elements of tensors with two or more dimensions. Tensors with one row per token of the
vocabulary count as embeddings, since most methods leave them in float. Scales, zero points and position
tables do not count. It reads headers only, except for 4-bit values stored in a byte each.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.build.engine.model_folder import read_json
from framework.core.errors import ServeError

_ONNX_BITS = {1: 32, 2: 8, 3: 8, 10: 16, 11: 64, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4}
"""Bits of the element types of ``onnx.TensorProto`` that weights have."""
_SAFETENSORS_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I8": 8,
    "U8": 8,
}
_TABLES = {"GroupQueryAttention", "RotaryEmbedding", "MultiHeadAttention"}
"""Operators whose two-dimensional constants are sine and cosine tables."""
_ELEMENTWISE = {"Add", "Subtract", "Multiply", "Divide", "Power"}
"""Operators of OpenVINO whose second input is not a weight."""


@dataclass
class BitWidths:
    """Number of weights by bit width."""

    matrices: Counter[int] = field(default_factory=Counter)
    """Elements of weight matrices, by bits."""
    embeddings: Counter[int] = field(default_factory=Counter)
    """Elements of tables with one row per token, by bits."""

    def add(self, shape: tuple[int, ...], bits: int, vocabulary: int | None) -> None:
        """Count one tensor of *shape*, in elements."""
        counted = self.embeddings if vocabulary in shape else self.matrices
        counted[bits] += math.prod(shape)

    def share(self, bits: int) -> float:
        """Return the share of the matrices' weights that take at most *bits*; 0 without any."""
        narrow = sum(count for width, count in self.matrices.items() if width <= bits)
        return narrow / total if (total := self.matrices.total()) else 0.0


def count_widths(folder: Path) -> BitWidths:
    """Count the weights of every weight file in *folder*.

    Raises:
        ServeError: a file is broken.
    """
    widths, vocabulary = BitWidths(), read_json(folder, "config.json").get("vocab_size")
    formats = {"*.onnx": _count_onnx, "*.safetensors": _count_safetensors, "*.xml": _count_openvino}
    for pattern, count in formats.items():
        for file in sorted(folder.glob(pattern)):
            try:
                count(file, widths, vocabulary)
            except Exception as error:  # each format's reader has its own exceptions
                first_line = str(error).partition("\n")[0] or type(error).__name__
                raise ServeError(f"{file}: its weights cannot be counted: {first_line}") from error
    return widths


def _count_onnx(file: Path, widths: BitWidths, vocabulary: int | None) -> None:
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    packed: dict[str, tuple[tuple[int, ...], int]] = {}
    used, scales = set(), set()
    for node in graph.node:
        used.update(node.input)
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type == "MatMulNBits":
            packed[node.input[1]] = (attributes["N"], attributes["K"]), attributes.get("bits", 4)
            scales.update(node.input[2:])
        elif node.op_type == "GatherBlockQuantized":
            packed[node.input[0]] = (), attributes.get("bits", 4)
            scales.update(node.input[2:])
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scales.update(node.input[1:])
        elif node.op_type in _TABLES:
            scales.update(node.input)
    for tensor in graph.initializer:
        bits, shape = _ONNX_BITS.get(tensor.data_type), tuple(tensor.dims)
        if tensor.name not in used - scales or bits is None or len(shape) < 2:
            continue
        if tensor.name in packed:
            unpacked, narrow = packed[tensor.name]
            # Several values share a byte along the last dimension.
            widths.add(unpacked or (*shape[:-1], shape[-1] * bits // narrow), narrow, vocabulary)
        else:
            widths.add(shape, bits, vocabulary)


def _count_safetensors(file: Path, widths: BitWidths, vocabulary: int | None) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        metadata: dict[str, str] = opened.metadata() or {}
        tensors = opened.keys()  # an open file is not a mapping
        names = [name for name in tensors if not name.endswith(("_scale", "_zero_point", "_zeros"))]
        for name in names:
            stored = opened.get_slice(name)
            shape, bits = tuple(stored.get_shape()), _SAFETENSORS_BITS.get(stored.get_dtype())
            if name.endswith(".weight_packed"):
                rows, columns = opened.get_tensor(name.replace("_packed", "_shape")).tolist()
                shape, bits = (rows, columns), 32 * math.prod(shape) // (rows * columns)
            if bits is None or len(shape) < 2:
                continue
            if name.endswith("_weight_qdata") and _is_int4(metadata, name):
                values = stored[:]
                bits = 4 if values.min() >= -8 and values.max() <= 7 else 8
            widths.add(shape, bits, vocabulary)


def _is_int4(metadata: dict[str, str], name: str) -> bool:
    """Return whether torchao's metadata gives the tensor *name* four bits."""
    described = json.loads(metadata.get(name.replace("._weight_qdata", ".weight"), "{}"))
    return bool(described.get("_data", {}).get("target_dtype", {}).get("_data") == "int4")


def _count_openvino(file: Path, widths: BitWidths, vocabulary: int | None) -> None:
    import openvino

    for node in openvino.Core().read_model(file).get_ops():
        if node.get_type_name() != "Constant" or len(node.get_output_shape(0)) < 2:
            continue
        kind = node.get_element_type()
        indices = kind.get_type_name() == "boolean" or (kind.is_integral() and kind.bitwidth > 8)
        if not indices and not _only_scales(node):
            widths.add(_ungrouped(tuple(node.get_output_shape(0))), kind.bitwidth, vocabulary)


def _only_scales(node: Any) -> bool:
    """Return whether a constant is only a scale, zero point or bias: second input of an elementwise op."""
    for target in node.output(0).get_target_inputs():
        user, position = target.get_node(), target.get_index()
        kind = user.get_type_name()
        scale = _only_scales(user) if kind == "Convert" else kind in _ELEMENTWISE and position == 1
        if not scale:
            return False
    return True


def _ungrouped(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the matrix shape (rows, columns) of a weight stored in groups (rows, groups, columns)."""
    return (shape[0], shape[1] * shape[2]) if len(shape) == 3 else shape
