from pathlib import Path

import pytest

from framework.build.engine import open_engine
from framework.build.export.transformers import Transformers
from framework.core.errors import StepError
from framework.core.store import RECORD


def test_folder_is_released_unchanged(tiny_llama: Path, tmp_path: Path) -> None:
    model, output = tmp_path / "model", tmp_path / "export"
    (model / "adapter").mkdir(parents=True)
    output.mkdir()
    for file in tiny_llama.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / RECORD).write_text("{}")
    (model / "adapter" / "adapter_config.json").write_text("{}")
    Transformers().write(model, output)
    shipped = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert shipped == {*(file.name for file in tiny_llama.iterdir()), "adapter/adapter_config.json"}
    assert (output / "model.safetensors").read_bytes() == (tiny_llama / "model.safetensors").read_bytes()


def test_transformers_export_is_served_by_torch(tiny_llama: Path, tmp_path: Path) -> None:
    Transformers().write(tiny_llama, tmp_path)
    wanted = list(open_engine("torch", tiny_llama).generate([5, 6, 7], 5))
    assert list(open_engine(Transformers.engine, tmp_path).generate([5, 6, 7], 5)) == wanted


def test_transformers_export_does_not_quantize(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="not int4; set compression=none"):
        Transformers().write(tiny_llama, tmp_path, precision="int4")
