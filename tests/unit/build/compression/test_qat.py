"""Quantization-aware training on a tiny model: its weights, their conversion, and its benefit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from framework.build.compression import Exported, ModelCompression
from framework.build.compression.fake_quantized import FakeQuantized
from framework.build.compression.qat import Qat
from framework.build.compression.rounding_grid import rounded
from framework.build.compression.w4a8 import W4A8
from framework.build.engine.torch import open_model
from framework.build.export.transformers import Transformers
from framework.build.model import Model
from framework.build.task import open_task
from framework.build.training.batches import read_examples
from framework.build.training.supervised import Supervised
from framework.core.errors import StepError

IDS = torch.arange(3, 40)[None]


def inner_layers(model: Any) -> dict[str, Any]:
    found = model.named_modules()
    return {path: part for path, part in found if isinstance(part, torch.nn.Linear) and path != "lm_head"}


def loss_on(model: Any, rows: Any) -> float:
    task = open_task("causal-lm")
    with torch.no_grad():
        total = sum(float(task.loss(model, task.collate([row], 0))) for row in rows)
    return total / sum(task.weight(labels) for _, labels in rows)


@pytest.mark.parametrize("scheme", ["int4", "8da4w", "int8"])
def test_qat_folder_is_ordinary_and_on_the_grid(
    scheme: Any, tiny_model: Model, tiny_tuned: Path, tiny_data: Path, compressed: Callable[..., Path]
) -> None:
    training = Supervised(learning_rate=1e-3, max_steps=6, precision="bf16")
    option = Qat(scheme=scheme, group_size=16, training=training)
    assert not option.reshapes
    opened = tiny_model.open(compressed("qat", option, tiny_model, tiny_tuned, tiny_data))
    assert len(inner_layers(opened)) == 14
    for path, part in inner_layers(opened).items():
        weight = part.weight.detach()
        assert torch.equal(rounded(weight, scheme, 16), weight), path
        blocks = weight.view(len(weight), -1, weight.shape[1] if scheme == "int8" else 16)
        assert max(len(block.unique()) for row in blocks for block in row) <= (
            255 if scheme == "int8" else 16
        )
    head = opened.lm_head.weight.detach()
    assert torch.equal(rounded(head, scheme, 16), head) == (scheme != "8da4w")  # w4a8 leaves it in float
    table = opened.get_input_embeddings().weight.detach()
    assert not torch.equal(rounded(table, scheme, 16), table)


def test_tied_head_is_rounded_only_in_products(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=50, tie_word_embeddings=True, **sizes)).eval()
    table = model.get_input_embeddings().weight
    before = table.detach().clone()
    tuning = FakeQuantized(scheme="int4", group_size=32)
    tuned = tuning.apply(model, "causal-lm")
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    assert tuned.lm_head.weight is table
    assert torch.equal(tuned.lm_head(hidden), hidden @ rounded(before, "int4", 32).T)
    assert torch.equal(tuned.get_input_embeddings()(torch.tensor([7]))[0], before[7])
    tuning.save(tuned, tmp_path)
    opened = LlamaForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(opened.lm_head.weight, before)
    assert opened.lm_head.weight is opened.get_input_embeddings().weight


def test_w4a8_keeps_the_trained_numbers(
    tiny_model: Model, tiny_tuned: Path, tiny_data: Path, tmp_path: Path, compressed: Callable[..., Path]
) -> None:
    training = Supervised(learning_rate=1e-3, max_steps=6, precision="fp32")
    option = Qat(scheme="8da4w", group_size=16, training=training)
    folder = compressed("qat", option, tiny_model, tiny_tuned, tiny_data)
    trained = option.tuning.apply(tiny_model.open(folder), "causal-lm").eval()
    with torch.inference_mode():
        wanted = trained(IDS).logits
    (tmp_path / "w4a8").mkdir()
    W4A8(group_size=16).compress(
        Exported(folder, Transformers(), folder, tiny_data, tiny_model), tmp_path / "w4a8"
    )
    with torch.inference_mode():
        assert torch.equal(open_model(tmp_path / "w4a8")(IDS).logits, wanted)
        assert not torch.equal(open_model(folder)(IDS).logits, wanted)  # activations are rounded at run time


def test_saved_rounding_is_that_of_training(tiny_model: Model, tiny_tuned: Path, tmp_path: Path) -> None:
    tuning = FakeQuantized(scheme="int8", group_size=32)
    model = tuning.apply(tiny_model.open(tiny_tuned), "causal-lm").eval()
    with torch.inference_mode():
        wanted = model(IDS).logits
    (tmp_path / "saved").mkdir()
    tuning.save(model, tmp_path / "saved")
    again = tuning.apply(tiny_model.open(tmp_path / "saved"), "causal-lm").eval()
    with torch.inference_mode():
        assert torch.equal(again(IDS).logits, wanted)
    loss = model(IDS).logits.square().mean()
    loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_engines_do_not_change_rounded_weights(tmp_path: Path) -> None:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    def graph(weight: torch.Tensor) -> Any:
        """Multiply by *weight*, (outputs, inputs), as exporters write it down."""
        outputs, inputs = weight.shape
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
            for name, width in (("x", inputs), ("y", outputs))
        ]
        matrix = numpy_helper.from_array(weight.T.contiguous().numpy(), "w")
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        opsets = [helper.make_opsetid("", 21)]
        made = helper.make_graph(nodes, "g", ends[:1], ends[1:], [matrix])
        return helper.make_model(made, opset_imports=opsets, ir_version=10)

    weight = torch.randn(24, 64, generator=torch.Generator().manual_seed(0))
    four = rounded(weight, "int4", 32)
    quantizer = MatMulNBitsQuantizer(graph(four), block_size=32, is_symmetric=True, bits=4)
    quantizer.process()
    session = onnxruntime.InferenceSession(quantizer.model.model.SerializeToString())
    (found,) = session.run(None, {"x": torch.eye(64).numpy()})
    assert torch.equal(torch.from_numpy(found).T, four)
    assert not torch.equal(four, weight)
    eight = rounded(weight, "int8", 32)
    quantize_dynamic(graph(eight), tmp_path / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
    held = {each.name: each for each in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    integers, found = (numpy_helper.to_array(held[name]) for name in ("w_quantized", "w_scale"))
    assert torch.allclose(torch.from_numpy(integers * found).T, eight, rtol=1e-6, atol=0)


def test_indivisible_block_is_rejected(tiny_model: Model, tiny_base: Path) -> None:
    with pytest.raises(StepError, match=r"48 does not divide the 64 inputs of model\.layers.*group_size=64"):
        FakeQuantized(scheme="8da4w", group_size=48).apply(tiny_model.open(tiny_base), "causal-lm")


@pytest.mark.parametrize("scheme", ["int4", "8da4w"])
def test_qat_loses_less_than_rounding_at_the_end(
    scheme: Any,
    tiny_model: Model,
    tiny_tuned: Path,
    tiny_data: Path,
    tmp_path: Path,
    compressed: Callable[..., Path],
) -> None:
    """Compared with the same training without fake quantization, rounded at the end."""
    rows = [*read_examples(tiny_data / "train"), *read_examples(tiny_data / "test")]
    spiked = tmp_path / "spiked"
    with_outliers(tiny_model.open(tiny_tuned)).save_pretrained(spiked)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (spiked / name).write_bytes((tiny_tuned / name).read_bytes())
    training = Supervised(learning_rate=1e-3, max_steps=24, epochs=8, precision="fp32")
    option = Qat(scheme=scheme, group_size=32, training=training)
    folder = compressed("qat", option, tiny_model, spiked, tiny_data)
    plain = compressed("plain", Plain(training=training), tiny_model, spiked, tiny_data)

    def quantized(each: Path) -> float:
        return loss_on(option.tuning.apply(tiny_model.open(each), "causal-lm").eval(), rows)

    exact = loss_on(tiny_model.open(plain), rows)
    post, aware = quantized(plain), quantized(folder)
    assert post > exact
    assert aware - exact < 0.5 * (post - exact)


class Plain(ModelCompression):
    """Plain training."""

    label: ClassVar[str] = "plain"


def with_outliers(model: Any) -> Any:
    """Scale a few input channels of *model* without changing its output, like outliers in language models."""
    with torch.no_grad():
        for layer in model.model.layers:
            for norm, readers in (
                (layer.input_layernorm, ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
                (layer.post_attention_layernorm, ("mlp.gate_proj", "mlp.up_proj")),
            ):
                norm.weight[::16] /= 25
                for path in readers:
                    layer.get_submodule(path).weight[:, ::16] *= 25
    return model
