"""The extras that building a config needs, and what is missing of them."""

import pytest

from framework.core import step
from framework.plan.explain import difference
from framework.plan.rules import install
from framework.plan.rules.install import missing_packages, missing_versions, needed_extras

NOWHERE = ("launcher=trainjob", f"launcher.image=registry.example.com/trainer@sha256:{'5' * 64}")


@pytest.mark.parametrize(
    ("words", "extras"),
    [
        ((), []),
        (("export=openvino", "compression=int8-weight"), ["openvino"]),
        (("export=transformers", "compression=fp8"), ["compress"]),
        (("tuning=qlora",), ["qlora"]),
        (("training.optimizer=adamw-8bit",), ["qlora"]),
        (("tracking=mlflow",), ["track"]),
        (("tracking=wandb",), ["wandb"]),
        (("tracking=tensorboard", "publish.url=gs://team/models"), ["store", "track"]),
        (("data=files", "data.train=s3://team/rows.jsonl"), ["store"]),
        (("data=files", "data.train=https://example.com/rows.parquet"), ["parquet"]),
        (("data=files", "data.train=rows.csv.zst"), ["parquet"]),
        (("data=files", "data.train=rows.txt", "data.format=parquet"), ["parquet"]),
        (("parallelism=deepspeed-2",), ["gpu"]),
        (("model=tiny-vilt",), ["vision"]),
        (("monitoring=prometheus",), []),
        ((*NOWHERE, "launcher.dry_run=true", "parallelism=deepspeed-2"), []),
        (
            (*NOWHERE, "tuning=qlora", "parallelism=deepspeed-2", "tracking=mlflow"),
            ["cluster", "qlora", "track"],
        ),
    ],
    ids=" ".join,
)
def test_building_needs_these_extras(config, words, extras) -> None:
    assert needed_extras(config("+recipe=tiny", *words)) == extras


def test_phases_are_counted(config) -> None:
    words = ("+recipe=finance-three-phase", "+tuning@phases.task.tuning=qlora")
    assert needed_extras(config(*words)) == ["qlora"]


def test_files_of_a_local_folder_are_seen(config, team) -> None:
    team("rows/train-00000.parquet", "")
    assert needed_extras(config("+recipe=tiny", "data=files", "data.train=rows")) == ["parquet"]


def test_only_versions_in_keys_keep_an_artifact_from_being_found(config, monkeypatch) -> None:
    monkeypatch.setattr(install, "installed", lambda distribution: False)
    made = config("+recipe=tiny", "tuning=qlora", "tracking=mlflow")
    assert [problem.key for problem in missing_versions(made)] == ["tuning"]
    assert {problem.key for problem in missing_packages(made)} == {"tracking", "tuning"}


def test_step_without_its_library_has_a_key_of_its_own(plan, monkeypatch) -> None:
    words = ("+recipe=tiny", "tuning=qlora")
    known = step._version
    there = plan(*words).step("tune")
    monkeypatch.setattr(step, "_version", lambda name: None if name == "bitsandbytes" else known(name))
    absent = plan(*words).step("tune")
    assert absent.key != there.key
    assert difference(there.identity(), absent.identity()) == "bitsandbytes is not installed"
