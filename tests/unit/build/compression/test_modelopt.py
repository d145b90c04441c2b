"""The options that use ModelOpt: ``awq``, ``fp8`` and ``smoothquant``."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.awq import Awq
from framework.build.compression.fp8 import Fp8
from framework.build.compression.smoothquant import SmoothQuant
from framework.build.compression.w4a8 import W4A8
from framework.build.engine import open_engine
from framework.build.engine.bit_width import count_widths
from framework.build.export.transformers import Transformers
from framework.build.model.tiny import TinyCausalLM
from framework.core.errors import ServeError, StepError
from framework.core.filesystem import tree_digest

ROWS = [[5, 6, 7, 8, 9, 10], [70, 80, 90]]
OPTIONS = (Awq(calibration_rows=3, group_size=32), Fp8(calibration_rows=3), SmoothQuant(calibration_rows=3))


@pytest.fixture(scope="module")
def exported(export_of: Callable[..., Exported]) -> Exported:
    return export_of(TinyCausalLM(name="tiny", license="x", parameters=1e5), Transformers())


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.label)
def test_quantized_folder_is_smaller_close_and_deterministic(
    exported: Exported, tmp_path: Path, option: ExportCompression
) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        option.compress(exported, folder)
    assert tree_digest(folders[0]) == tree_digest(folders[1])
    counted = count_widths(folders[0])
    assert set(counted.matrices) == {option.bits}
    assert counted.share(option.bits) >= option.least_share
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (exported.folder, folders[0])]
    assert sizes[1] < 0.55 * sizes[0]  # embeddings and head are half of this model
    wanted = np.concatenate(open_engine("torch", exported.folder).logits(ROWS))
    engine = open_engine("torch", folders[0])
    given = np.concatenate(engine.logits(ROWS))
    assert 0 < np.abs(wanted - given).mean() < 0.1 * wanted.std()
    assert list(engine.generate(ROWS[0], 3))
    config = json.loads((folders[0] / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] in ("modelopt", "compressed-tensors")
    assert json.loads((folders[0] / "compression.json").read_text())["calibration_rows"] == [0, 4, 8]
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (folders[0] / name).read_bytes() == (exported.folder / name).read_bytes()


def test_torch_engine_matches_modelopt(exported: Exported, tmp_path: Path) -> None:
    """Everything else is float32, so only the rounding of weights and activations is compared."""
    import copy

    import modelopt.torch.quantization as quantization
    import torch
    from modelopt.torch.export import export_hf_checkpoint

    from framework.build.engine.torch import open_model
    from framework.core.silence_libraries import quiet

    model, row = open_model(exported.folder), torch.tensor([[5, 6, 7, 8, 9, 10, 200, 201]])
    with quiet(), torch.no_grad():
        quantization.quantize(model, copy.deepcopy(quantization.FP8_DEFAULT_CFG), lambda inner: inner(row))
        wanted = model(row).logits.numpy()[0]
        export_hf_checkpoint(model, dtype=torch.float32, export_dir=tmp_path)
    given = open_engine("torch", tmp_path).logits(row.tolist())[0]
    unrounded = open_engine("torch", exported.folder).logits(row.tolist())[0]
    assert np.abs(wanted - given).max() < 1e-5
    assert np.abs(wanted - unrounded).max() > 1e-3


def test_smoothing_is_folded_into_preceding_layers(exported: Exported, tmp_path: Path) -> None:
    """Before rounding, the folded model has the logits of the original."""
    import torch

    from framework.build.compression.modelopt import calibrate, fold_scales
    from framework.build.engine.torch import open_model

    row = torch.tensor([[5, 6, 7, 8, 9, 10, 200, 201]])
    folded = calibrate(
        exported, row.tolist(), "INT8_SMOOTHQUANT_CFG", {"method": "smoothquant", "alpha": 0.5}
    )
    layers = fold_scales(folded)
    plain = open_model(exported.folder)
    with torch.no_grad():
        for path, layer in layers.items():
            plain.get_submodule(path).weight.copy_(layer.weight)
        changed = plain(row).logits
        for path, norm in folded.named_modules():
            if path.endswith("layernorm"):
                plain.get_submodule(path).weight.copy_(norm.weight)
        whole = plain(row).logits
        wanted = open_model(exported.folder)(row).logits
    assert len(layers) == 2 * 7
    assert float((whole - wanted).abs().max()) < 1e-5
    assert float((changed - wanted).abs().max()) > 1e-2  # a scale was folded into the norms


OPEN = """
import sys
import numpy as np
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
with torch.inference_mode():
    np.save(sys.argv[2], model(torch.tensor([[5, 6, 7, 8, 9, 10]])).logits[0].numpy())
"""


@pytest.mark.parametrize(
    ("option", "most"), [(OPTIONS[0], 1e-5), (OPTIONS[2], 0.02)], ids=["awq", "smoothquant"]
)
def test_transformers_gives_the_same_logits(
    exported: Exported, tmp_path: Path, option: ExportCompression, most: float
) -> None:
    """Checked with the library that defines the layout; it rounds activations slightly differently."""
    pytest.importorskip("compressed_tensors")
    option.compress(exported, tmp_path)
    command = [sys.executable, "-W", "ignore", "-c", OPEN, str(tmp_path), str(tmp_path / "logits.npy")]
    subprocess.run(command, check=True, capture_output=True)
    own = open_engine("torch", tmp_path).logits(ROWS[:1])[0]
    assert np.abs(np.load(tmp_path / "logits.npy") - own).max() < most


def test_indivisible_group_size_suggests_one_that_fits(exported: Exported, tmp_path: Path) -> None:
    message = r"48 does not divide the 64 inputs of .*q_proj; set compression\.awq\.group_size=32"
    with pytest.raises(StepError, match=message) as caught:
        Awq(group_size=48).compress(exported, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


QWEN = {
    "vocab_size": 259,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.label)
def test_tied_head_and_biases_are_kept(exported: Exported, tmp_path: Path, option: ExportCompression) -> None:
    """Qwen's attention has biases, which ModelOpt cannot fold a scale into: the scale is undone."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    source, output = tmp_path / "source", tmp_path / "output"
    output.mkdir()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(Qwen2Config(**QWEN))
        for name, part in model.named_parameters():
            if name.endswith("bias"):
                part.normal_(0, 0.05)
        model.save_pretrained(source)
    option.compress(replace(exported, folder=source, source=source), output)
    counted = count_widths(output)
    assert counted.embeddings == {16: 259 * 64}
    assert set(counted.matrices) == {option.bits}
    wanted, given = (np.concatenate(open_engine("torch", folder).logits(ROWS)) for folder in (source, output))
    assert 0 < np.abs(wanted - given).mean() < 0.15 * wanted.std()


def test_model_without_linear_layers_is_rejected(exported: Exported, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    source, output = tmp_path / "source", tmp_path / "output"
    output.mkdir()
    size = {"vocab_size": 259, "n_embd": 64, "n_layer": 1, "n_head": 4, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**size)).save_pretrained(source)
    for option in (*OPTIONS, W4A8()):
        with pytest.raises(StepError, match="GPT2LMHeadModel has no linear layers") as caught:
            option.compress(replace(exported, folder=source), output)
        assert "\n" not in str(caught.value)
        assert list(output.iterdir()) == []


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.label)
def test_missing_rows_leave_no_file(exported: Exported, tmp_path: Path, option: ExportCompression) -> None:
    with pytest.raises(StepError, match="no training rows to calibrate on"):
        option.compress(replace(exported, data=tmp_path), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_weight_in_checkpoint_is_reported(exported: Exported, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    Fp8(calibration_rows=1).compress(exported, tmp_path)
    file, lost = tmp_path / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    save_file({name: part for name, part in load_file(file).items() if name != lost}, file)
    for why in (f"{lost} is missing", "header too small"):
        with pytest.raises(ServeError, match=f"quantized checkpoint: .*{why}") as caught:
            open_engine("torch", tmp_path)
        assert "\n" not in str(caught.value)
        file.write_bytes(b"broken")
