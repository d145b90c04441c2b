"""A chain of four compressions of a random model, from the command line to the release."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file

Run = Callable[..., "subprocess.CompletedProcess[str]"]
WORDS = (
    "+recipe=tiny",
    "compression=[prune-structured,distill,qat,int4-weight]",
    "compression.prune-structured.training=null",
    "compression.distill.layers=1",
    "compression.distill.training={learning_rate: 3e-3, epochs: 20, precision: fp32}",
    "compression.qat.training={learning_rate: 3e-4, precision: fp32}",
    "benchmark={prompt_tokens: 8, new_tokens: 4, repeats: 1}",
)


@pytest.mark.slow
def test_compressions_build_on_each_other(tmp_path: Path, run: Run) -> None:
    done = run(tmp_path, *WORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "environments/dev/tiny/release.lock").read_text())["metrics"]
    sizes = [metrics[f"{name}.size_bytes"] for name in ("tuned", "pruned", "distilled")]
    assert sizes == sorted(sizes, reverse=True)
    assert metrics["int4.size_bytes"] < metrics["fp32.size_bytes"]
    assert metrics["distilled.perplexity"] < 0.1 * metrics["base.perplexity"]
    assert metrics["int4.weights_4_bit_share"] == 1
    weights = load_file(built(tmp_path, "merge qat") / "model.safetensors")
    packed = dict(unpacked(built(tmp_path, "compress int4") / "model.onnx"))
    trained = weights["model.layers.0.mlp.down_proj.weight"]
    assert trained.shape == (64, 96)  # pruned from 128 channels
    # The released weights are exactly the trained ones.
    assert np.array_equal(packed["/model/layers.0/mlp/down_proj/MatMul_Q4"], trained)
    assert np.array_equal(packed["/lm_head/MatMul_Q4"], weights["lm_head.weight"])


def built(folder: Path, label: str) -> Path:
    """Return the newest artifact of a kind, such as the merge of the last compression."""
    kind = label.partition(" ")[0]
    return max((folder / ".gitune/store" / kind).iterdir(), key=lambda artifact: artifact.stat().st_mtime)


def unpacked(graph: Path) -> Any:
    """Yield the name of each 4-bit matrix product and its weights, (outputs, inputs)."""
    model = onnx.load(graph)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            shape = {attribute.name: attribute.i for attribute in node.attribute}
            packed, scales = (numpy_helper.to_array(tensors[name]) for name in node.input[1:3])
            levels = np.stack([packed & 15, packed >> 4], -1).astype(np.float32) - 8
            blocks = levels.reshape(shape["N"], -1, shape["block_size"]) * scales.reshape(shape["N"], -1, 1)
            yield node.name, blocks.reshape(shape["N"], -1)[:, : shape["K"]]
