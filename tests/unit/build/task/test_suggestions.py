"""Each task suggests options that exist and work together."""

from pathlib import Path

import pytest

from framework.build import task
from framework.build.compression import ExportCompression
from framework.build.task import open_task
from framework.config.jsonschema import option_classes
from framework.core.paths import SHARE

NAMES = (
    "causal-lm",
    "image-text-classification",
    "multi-label-classification",
    "seq2seq",
    "sequence-classification",
    "text-embedding",
    "token-classification",
)


def test_every_task_is_tried():
    files = Path(task.__file__).parent.glob("*.py")
    assert {file.stem for file in files if "\nTASK = " in file.read_text()} == {
        name.replace("-", "_") for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_suggested_options_support_the_task(name):
    chosen = open_task(name)
    export = option_classes("export", (SHARE,))[chosen.suggested_export]
    assert export.engine == chosen.suggested_engine
    assert name in export.tasks
    training = option_classes("training", (SHARE,))[chosen.suggested_training]
    assert not training.tasks or name in training.tasks
    compression = option_classes("compression", (SHARE,))[chosen.suggested_compression]
    if issubclass(compression, ExportCompression):
        assert chosen.suggested_engine in compression.exports
