import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from framework.core.component import Component
from framework.core.step import Fingerprinted, Stage, Step, Workspace

ROOT = Path(__file__).parents[3]


class Inner(Component):
    rank: int = 8


class Wider(Inner):
    extra: str = "a"


class File(Fingerprinted):
    path: str

    def fingerprint(self) -> str:
        return Path(self.path).read_text()


class Work(Stage):
    name: ClassVar[str] = "work"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("pydantic",)

    inner: Inner = Inner()
    names: dict[str, float] = Field(default={})
    files: tuple[File, ...] = ()

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        raise AssertionError("never run here")


def key(**fields: Any) -> str:
    return Step("work", Work(**fields)).key


def test_label_does_not_change_the_key() -> None:
    assert Step("one", Work()).key == Step("another", Work()).key
    assert len(key()) == 64


def test_every_field_changes_the_key() -> None:
    keys = {key(), key(inner=Inner(rank=9)), key(names={"a": 1.0}), key(names={"a": 2.0})}
    assert len(keys) == 4


def test_field_of_a_subclass_changes_the_key() -> None:
    """If a field is typed as its base class, pydantic omits a subclass's fields by default."""
    keys = {key(inner=Wider(extra="a")), key(inner=Wider(extra="b")), key(inner=Inner())}
    assert len(keys) == 3


def test_mapping_order_does_not_change_the_key() -> None:
    assert key(names={"a": 1.0, "b": 2.0}) == key(names={"b": 2.0, "a": 1.0})


def test_file_content_changes_the_key(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_text("old rows")
    stage = Work(files=(File(path=str(file)),))
    before = Step("work", stage).key
    file.write_text("new rows")
    assert Step("work", stage).key != before


def test_version_class_and_libraries_change_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()

    class Other(Work):
        pass

    assert Step("work", Other()).key != before
    with monkeypatch.context() as patch:
        patch.setattr(Work, "version", 2)
        assert key() != before
    with monkeypatch.context() as patch:
        patch.setattr("framework.core.step._version", lambda name: "0.0.1")
        assert key() != before
    assert key() == before


def test_inputs_change_the_key_by_content_and_slot() -> None:
    a, b = Step("a", Work()), Step("b", Work(inner=Inner(rank=1)))
    keys = {Step("c", Work(), needs).key for needs in ({}, {"x": a}, {"y": a}, {"x": b}, {"x": a, "y": b})}
    assert len(keys) == 5
    after = Step("c", Work(), {"x": a}, after=(b,))
    assert after.key == Step("c", Work(), {"x": a}).key  # only the order, no bytes
    assert Step("c", Work(), {"y": b, "x": a}).key == Step("c", Work(), {"x": a, "y": b}).key


def test_key_is_the_same_in_another_process() -> None:
    code = (
        "from framework.build.stages.tune import Tune\nfrom framework.build.model.tiny import TinyCausalLM\n"
        "from framework.build.tuning.lora import LoRA\n"
        "from framework.build.training.supervised import Supervised\n"
        "from framework.build.parallelism.single import Single\nfrom framework.core.step import Step\n"
        "stage = Tune(model=TinyCausalLM(name='t', license='x', parameters=1e5),\n"
        "  tuning=LoRA(target_modules=('q_proj', 'v_proj')), training=Supervised(),\n"
        "  parallelism=Single(), device='cpu', seed=1)\nprint(Step('tune', stage).key)"
    )
    keys = set()
    for seed in ("1", "2"):
        environ = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "PATH": ""}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        keys.add(done.stdout)
    assert len(keys) == 1


def test_identity_is_json_and_restores_the_stage() -> None:
    stage = Work(inner=Wider(extra="z"), names={"a": 0.5})
    spec = json.loads(json.dumps(Step("work", stage).identity()))["spec"]
    rest = {name: value for name, value in spec.items() if name != "_target_"}
    rest["inner"] = {"extra": rest["inner"]["extra"], "rank": rest["inner"]["rank"]}
    assert spec["inner"]["_target_"].endswith("Wider")
    assert Work(inner=Wider(**rest["inner"]), names=rest["names"]) == stage


def test_walk_yields_inputs_first_and_each_step_once() -> None:
    a = Step("a", Work())
    b = Step("b", Work(inner=Inner(rank=1)), {"a": a})
    c = Step("c", Work(inner=Inner(rank=2)), {"a": a}, after=(b,))
    d = Step("d", Work(inner=Inner(rank=3)), {"c": c, "b": b, "a": a})
    assert [step.label for step in d.walk()] == ["a", "b", "c", "d"]
