import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.build.compression import Exported
from framework.build.compression.w4a8 import W4A8
from framework.build.engine import open_engine
from framework.build.engine.bit_width import count_widths
from framework.build.export.transformers import Transformers
from framework.build.model.tiny import TinyCausalLM
from framework.build.model.tiny_encoder import TinyEncoder
from framework.core.errors import StepError
from framework.core.filesystem import tree_digest

ROOT = Path(__file__).parents[4]
ROWS = [[5, 6, 7, 8, 9, 10], [70, 80, 90]]


@pytest.fixture(scope="module")
def exported(export_of: Callable[..., Exported]) -> Exported:
    return export_of(TinyCausalLM(name="tiny", license="x", parameters=1e5), Transformers())


@pytest.fixture(scope="module")
def quantized(exported: Exported, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("w4a8")
    W4A8().compress(exported, folder)
    return folder


def test_w4a8_values_have_four_bits_and_are_close(exported: Exported, quantized: Path) -> None:
    counted = count_widths(quantized)
    assert set(counted.matrices) == {4}
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (exported.folder, quantized)]
    assert sizes[1] < 0.65 * sizes[0]  # embeddings and head stay in float
    wanted = np.concatenate(open_engine("torch", exported.folder).logits(ROWS))
    engine = open_engine("torch", quantized)
    given = np.concatenate(engine.logits(ROWS))
    assert 0 < np.abs(wanted - given).mean() < 0.15 * wanted.std()
    assert list(engine.generate(ROWS[0], 3))
    assert json.loads((quantized / "compression.json").read_text()) == {"group_size": 32, "method": "8da4w"}
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (quantized / name).read_bytes() == (exported.folder / name).read_bytes()


OPEN = """
import sys
import numpy as np
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
with torch.inference_mode():
    np.save(sys.argv[2], model(torch.tensor([[5, 6, 7, 8, 9, 10]])).logits[0].float().numpy())
"""


def test_transformers_gives_the_same_logits(quantized: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", OPEN, str(quantized), str(tmp_path / "logits.npy")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    own = open_engine("torch", quantized).logits(ROWS[:1])[0]
    assert np.abs(np.load(tmp_path / "logits.npy") - own).max() == 0


COMPRESS = """
import sys
from pathlib import Path
from framework.build.compression import Exported
from framework.build.compression.w4a8 import W4A8
from framework.build.export.transformers import Transformers
from framework.build.model.tiny import TinyCausalLM
folder, output = map(Path, sys.argv[1:])
named = TinyCausalLM(name="tiny", license="x", parameters=1e5)
W4A8().compress(Exported(folder, Transformers(), folder, folder, named), output)
"""


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(exported: Exported, quantized: Path, tmp_path: Path) -> None:
    """safetensors writes metadata in varying order, which would change the digest of every run."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-W", "ignore", "-c", COMPRESS, str(exported.folder), str(tmp_path)]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    assert tree_digest(tmp_path) == tree_digest(quantized)


def test_w4a8_supports_classifiers(export_of: Callable[..., Exported], tmp_path: Path) -> None:
    model = TinyEncoder(name="tiny", license="x", parameters=1e5, labels=("a", "b", "c"))
    exported = export_of(model, Transformers())
    W4A8(group_size=64).compress(exported, tmp_path)
    wanted, given = (open_engine("torch", folder).classify(ROWS) for folder in (exported.folder, tmp_path))
    assert 0 < np.abs(wanted - given).max() < wanted.std()
    assert count_widths(tmp_path).share(4) > W4A8.least_share


def test_indivisible_group_size_suggests_one_that_fits(exported: Exported, tmp_path: Path) -> None:
    message = r"128 does not divide the 64 inputs of .*q_proj; set compression\.w4a8\.group_size=64"
    with pytest.raises(StepError, match=message) as caught:
        W4A8(group_size=128).compress(exported, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
