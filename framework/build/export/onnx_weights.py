"""Compress the weights of an ONNX graph to 4 or 8 bits; activations stay in float.

Matrices become ``MatMulNBits``, which ONNX Runtime multiplies without unpacking. Lookup tables such as
embeddings become int8 with one scale per row, in plain ONNX. Knows no model.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from framework.core.errors import StepError
from framework.core.silence_libraries import quiet

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_LEAST_TABLE = 64 * 64
"""Smallest table, in values, that justifies the additional operators."""
_COMPUTED_IN_INT8 = 4
"""The accuracy level of MatMulNBits that rounds activations to 8 bits, block by block."""


def compress(file: Path, output: Path, bits: int, block_size: int | None) -> None:
    """Write the graph in *file* to *output* with compressed weights.

    Args:
        file: a graph with float weights.
        output: the graph to write; it may be *file*.
        bits: 4 or 8, for matrices. Tables and the output layer always have 8.
        block_size: consecutive weights of a column that share a scale; the last block may be shorter. None
            uses the largest power of two up to 128 that divides every column.

    Raises:
        StepError: *file* cannot be read, or has no float matrix.
    """
    import onnx

    model = _load(file)
    _store_transposed(model.graph)
    if not (columns := _columns(model.graph)):
        raise StepError(
            f"compression=int{bits}-weight: the graph has no float matrix left to quantize; remove the "
            "compression before it"
        )
    divisor = math.gcd(*columns)
    size = block_size or min(128, max(16, divisor & -divisor))
    output_layer = [node.name for node in model.graph.node if "logits" in node.output]
    with quiet():
        for width, excluded in ((bits, output_layer), (8, [])):
            model = _quantize_matrices(model, width, size, excluded)
    _compress_tables(model.graph)
    del model.graph.value_info[:]  # shapes and types of the float graph
    external = output.with_name(f"{output.name}.data")
    external.unlink(missing_ok=True)
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > 2**31 - 2**24
    onnx.save(model, output, save_as_external_data=large, location=external.name)


def _load(file: Path) -> "ModelProto":
    import onnx

    try:
        return onnx.load(file)
    except Exception as error:  # protobuf's exceptions share no public base
        first_line = str(error).partition("\n")[0]
        raise StepError(f"{file}: onnx cannot read it: {first_line}; export the model again") from error


def _quantize_matrices(model: "ModelProto", bits: int, block_size: int, excluded: list[str]) -> "ModelProto":
    """Return *model* with its float matrices as ``MatMulNBits``, except those of the nodes *excluded*."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        model,
        bits=bits,
        block_size=block_size,
        is_symmetric=True,
        accuracy_level=_COMPUTED_IN_INT8,
        nodes_to_exclude=excluded,
    )
    quantizer.process()
    quantized: ModelProto = quantizer.model.model
    return quantized


def _store_transposed(graph: "GraphProto") -> None:
    """Store a transposed table that is multiplied, such as a tied head, as a matrix of its own."""
    from onnx import numpy_helper

    tables = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    multiplied = {node.input[1] for node in graph.node if _multiplies(node)}
    for node in list(graph.node):
        if node.op_type == "Transpose" and node.input[0] in tables and node.output[0] in multiplied:
            transposed = numpy_helper.to_array(tables[node.input[0]]).T.copy()
            graph.initializer.append(numpy_helper.from_array(transposed, node.output[0]))
            graph.node.remove(node)


def _columns(graph: "GraphProto") -> list[int]:
    """Return the column length of every float matrix."""
    from onnx import TensorProto

    matrices = {
        tensor.name: tensor.dims[0]
        for tensor in graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }
    return [matrices[node.input[1]] for node in graph.node if _multiplies(node) and node.input[1] in matrices]


def _multiplies(node: "NodeProto") -> bool:
    return node.op_type == "MatMul" and not node.domain


def _compress_tables(graph: "GraphProto") -> None:
    """Quantize each float table that only ``Gather`` reads, by row, to int8 with one scale per row."""
    from onnx import TensorProto

    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for table in list(graph.initializer):
        readers = users.get(table.name, [])
        if (
            len(table.dims) == 2
            and table.data_type == TensorProto.FLOAT
            and math.prod(table.dims) >= _LEAST_TABLE
            and readers
            and all(node.op_type == "Gather" and table.name == node.input[0] for node in readers)
            and not any(field.name == "axis" and field.i for node in readers for field in node.attribute)
        ):
            _compress_table(graph, table, readers)


def _compress_table(graph: "GraphProto", table: "TensorProto", readers: "list[NodeProto]") -> None:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    values = numpy_helper.to_array(table)
    scales = np.maximum(np.abs(values).max(1), np.finfo(np.float32).tiny) / np.float32(127)
    rounded = np.rint(values / scales[:, None]).astype(np.int8)
    name, last = table.name, f"{table.name}.last_axis"
    table.CopyFrom(numpy_helper.from_array(rounded, name))
    graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), f"{name}.scales"))
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), last))
    for number, reader in enumerate(readers):
        names = {value: f"{name}.{number}.{value}" for value in ("bytes", "floats", "scale", "column")}
        indices, output = reader.input[1], reader.output[0]
        position = list(graph.node).index(reader)
        nodes = [
            helper.make_node("Gather", [name, indices], [names["bytes"]], names["bytes"]),
            helper.make_node(
                "Cast", [names["bytes"]], [names["floats"]], names["floats"], to=TensorProto.FLOAT
            ),
            helper.make_node("Gather", [f"{name}.scales", indices], [names["scale"]], names["scale"]),
            helper.make_node("Unsqueeze", [names["scale"], last], [names["column"]], names["column"]),
            helper.make_node("Mul", [names["floats"], names["column"]], [output], f"{name}.{number}"),
        ]
        del graph.node[position]
        for node in reversed(nodes):
            graph.node.insert(position, node)
