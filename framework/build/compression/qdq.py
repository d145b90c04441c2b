"""Static quantisation of an ONNX graph into Q/DQ form, by ONNX Runtime: the parts that options share.

``QuantizeLinear`` and ``DequantizeLinear`` pairs stand before every layer that is quantised: ONNX Runtime
fuses them, TensorRT takes its precision from them. Knows graphs and rows; which layers, an option says.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from framework.build.compression import Exported
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet
from framework.core.store import RECORD

if TYPE_CHECKING:
    import numpy as np

GRAPH = "model.onnx"
Method = Literal["minmax", "entropy", "percentile"]


class RowReader:
    """What ONNX Runtime calibrates on: one unpadded row at a time, since padding has ranges of its own."""

    def __init__(self, feeds: "Sequence[dict[str, np.ndarray]]") -> None:
        self.feeds = feeds
        self.set_range(0, len(feeds))

    def __len__(self) -> int:
        return len(self.feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Read only the rows from *start_index* up to *end_index*, from now on."""
        self._rest = iter(self.feeds[start_index:end_index])

    def get_next(self) -> "dict[str, np.ndarray] | None":
        """Return the graph's inputs for the next row."""
        return next(self._rest, None)


class Quantiser:
    """An exported graph that can be quantised, all layers or some, and what its rows say to it."""

    def __init__(self, exported: Exported, rows: Sequence[list[int]], cache: Path) -> None:
        """Open the graph in *exported* and check that it runs.

        Args:
            exported: its folder holds ``model.onnx``.
            rows: token ids to calibrate on.
            cache: where ranges are kept, so that they are measured once.

        Raises:
            StepError: the graph is broken, or has no layers to quantise.
        """
        self.file = exported.folder / GRAPH
        self.cache = cache
        # TensorRT takes symmetric ranges only, and of products; on a CPU unsigned activations are quicker.
        self.symmetric = exported.export.engine != "onnxruntime"
        self.model = open_graph(self.file)
        self.weights = _weights(self.model, tables=not self.symmetric)
        if not self.weights:
            raise StepError(
                f"{GRAPH} has no matrix product with constant weights that could be quantised; "
                "set compression=none"
            )
        self.layers = [*self.weights]
        _branch_off(self.model, self.weights)
        self.feeds = [feed(self._session(self.file), row) for row in rows]

    def quantise(
        self, output: Path, layers: Sequence[str], method: Method, percentile: float, per_channel: bool
    ) -> None:
        """Write the graph with *layers* in int8 to the file *output*; the first call must name all of them.

        It measures the ranges, which later calls go by.

        Raises:
            StepError: the graph has an operator that the quantiser cannot express.
        """
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        methods = {
            "minmax": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }
        try:
            with quiet():
                quantize_static(
                    _only(self.model, set(layers)),
                    output,
                    RowReader(self.feeds),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["MatMul", "Gemm", "Gather"],
                    per_channel=per_channel,
                    activation_type=QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_quantize=list(layers),
                    calibrate_method=methods[method],
                    calibration_cache_path=self.cache,
                    extra_options={
                        "ActivationSymmetric": self.symmetric,
                        "CalibPercentile": percentile,
                        "CalibStridedMinMax": 1,
                        "QuantizeBias": False,
                        # What comes out of a layer goes on in float.
                        "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
                    },
                )
        except Exception as error:  # the quantiser raises bare exceptions of many kinds
            raise StepError(f"{GRAPH} cannot be quantised: {first_line(error)}") from error

    def logits(self, graph: Path) -> "list[np.ndarray]":
        """Return what *graph* answers to each row, float32."""
        session = self._session(graph)
        with quiet():
            return [session.run(["logits"], feed)[0] for feed in self.feeds]

    def _session(self, graph: Path) -> Any:
        from framework.build.engine.onnx_session import open_session

        return open_session(graph, threads=0)


@contextmanager
def companions(exported: Exported, output: Path) -> Iterator[Path]:
    """Copy all but the graph to *output*; give a scratch folder for as long as the block runs."""
    apart = shutil.ignore_patterns(f"{GRAPH}*", "*.engine", RECORD)
    shutil.copytree(exported.folder, output, dirs_exist_ok=True, ignore=apart)
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def open_graph(file: Path) -> Any:
    """Return the ``onnx.ModelProto`` in *file*, every node with a name and no shapes but those of its ends.

    Raises:
        StepError: the file is broken, or has an operator that onnx does not know.
    """
    import onnx

    try:
        model = onnx.load(file)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, onnx and the file system each have their own
        raise StepError(
            f"{GRAPH} is no graph that onnx can read ({first_line(error)}); "
            "remove the export from the store and export again"
        ) from error
    # Shapes recorded by the exporter contradict those of the quantised graph.
    del model.graph.value_info[:]
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    return model


def _weights(model: Any, tables: bool) -> dict[str, str]:
    """Return the constant of every product with a constant matrix, by the node's name, in the graph's order.

    Embeddings, which are looked up and not multiplied, are among them where *tables* are wanted.
    """
    from onnx import TensorProto

    constant = {
        tensor.name
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
    }
    place = {"MatMul": 1, "Gemm": 1} | ({"Gather": 0} if tables else {})
    return {
        node.name: node.input[place[node.op_type]]
        for node in model.graph.node
        if node.op_type in place and node.input[place[node.op_type]] in constant
    }


_BRANCH = "_to_int8"


def _branch_off(model: Any, weights: dict[str, str]) -> None:
    """Give layers an input of their own, a copy of the old one, which those that had the same one share.

    The quantiser rounds a tensor for all who read it: sums and norms shall go on reading the float one.
    """
    from onnx import helper

    nodes = []
    copied = set()
    for node in model.graph.node:
        if node.name in weights and node.op_type != "Gather":
            before = node.input[0]
            if before not in copied:
                copied.add(before)
                nodes.append(helper.make_node("Identity", [before], [before + _BRANCH], before + _BRANCH))
            node.input[0] = before + _BRANCH
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _only(model: Any, layers: set[str]) -> Any:
    """Return a copy of *model* in which all but *layers* read the float tensors again."""
    from copy import deepcopy

    copy = deepcopy(model)
    branches = {node.output[0]: node.input[0] for node in copy.graph.node if node.name.endswith(_BRANCH)}
    read = set()
    for node in copy.graph.node:
        if node.name not in layers and node.input and node.input[0] in branches:
            node.input[0] = branches[node.input[0]]
        read.update(node.input)
    kept = [
        node for node in copy.graph.node if not (node.name.endswith(_BRANCH) and node.output[0] not in read)
    ]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def feed(session: Any, row: list[int]) -> "dict[str, np.ndarray]":
    """Return the graph's inputs for one row of T tokens; a decoder's cache is empty."""
    import numpy as np

    ids = np.asarray([row], np.int64)
    known = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
        "position_ids": np.arange(ids.shape[1], dtype=np.int64)[None],
    }
    fed = {}
    for given in session.get_inputs():
        if given.name.startswith("past"):
            batch, heads, _, width = given.shape
            fed[given.name] = np.zeros((batch if isinstance(batch, int) else 1, heads, 0, width), np.float32)
        elif given.name in known:
            fed[given.name] = known[given.name]
        else:
            raise StepError(
                f"{GRAPH} wants the input {given.name}, which training rows do not have; "
                "set compression=int8-dynamic"
            )
    return fed


def first_line(error: Exception) -> str:
    """Return the first line of what a library says, or what kind of error it is."""
    return str(error).partition("\n")[0] or type(error).__name__
