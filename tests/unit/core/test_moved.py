"""Old module paths are forwarded, for plugins and for ``_target_``."""

import importlib
import importlib.util
import sys

import pytest

from framework.build.tuning import Tuning
from framework.build.tuning.lora import LoRA
from framework.core.moved import FOLDERS, RENAMED, new_path


@pytest.fixture(autouse=True)
def forget_old_names():
    yield
    for name in [name for name in sys.modules if new_path(name)]:
        del sys.modules[name]


@pytest.mark.parametrize("path", [*FOLDERS.values(), *RENAMED.values()])
def test_every_new_path_exists(path):
    assert importlib.util.find_spec(path) is not None


def test_old_import_is_the_same_module():
    with pytest.warns(FutureWarning) as warned:
        old = importlib.import_module("framework.tuning.lora")
    assert [str(item.message).partition(";")[0] for item in warned] == [
        "framework.tuning is now framework.build.tuning",
        "framework.tuning.lora is now framework.build.tuning.lora",
    ]
    assert old.LoRA is LoRA
    assert old.__spec__.name == "framework.build.tuning.lora"
    assert old.__name__ == "framework.build.tuning.lora"
    assert not hasattr(old, "__path__")


def test_old_target_is_the_same_option():
    with pytest.warns(FutureWarning, match=r"framework\.tuning"):
        option = Tuning.model_validate({"_target_": "framework.tuning.lora.LoRA", "rank": 3})
    assert option == LoRA(rank=3)
    assert option.dump()["_target_"] == "framework.build.tuning.lora.LoRA"


def test_unknown_module_of_an_old_folder_is_missing():
    with pytest.warns(FutureWarning), pytest.raises(ModuleNotFoundError):
        importlib.import_module("framework.tuning.nothing_here")
