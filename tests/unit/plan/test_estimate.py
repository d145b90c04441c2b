"""Estimates of a plan's steps: each stage makes its own, the plan only hands it what it may know."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.build.data import Data
from framework.build.data.files import Files
from framework.build.data.mix import Mix, Part
from framework.core.paths import SHARE
from framework.core.step import Stage, Step, Workspace
from framework.core.workload import DISK, LIBRARIES, MANY_ROWS, DataSize, Workload
from framework.plan.estimate import data_sizes, estimate, tune_memory


class PluginStage(Stage):
    """A stage that the framework has never heard of."""

    name: ClassVar[str] = "plugin"
    version: ClassVar[int] = 1

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Do nothing."""


def test_plugin_stage_is_estimated_at_disk_speed(config):
    settings = config("+recipe=tiny")
    size = 4 * settings.model.parameters
    expected = estimate(Step("plugin", PluginStage()), settings, {})
    assert expected.seconds == 1 + size / DISK
    assert expected.memory == LIBRARIES + size


def test_default_memory_is_of_three_copies_at_most():
    assert Workload(1e6, 1e9, "cpu").copying(5).memory == LIBRARIES + 3 * 4e6


def test_built_data_replaces_the_guess(plan, tmp_path):
    counts = {"train": {"rows": 10, "tokens": 70}, "test": {"rows": 4, "tokens": 20}}
    (tmp_path / "summary.json").write_text(json.dumps(counts))
    steps = plan("+recipe=tiny").steps
    sizes = data_sizes(steps, lambda step: tmp_path if step.label == "encode" else None)
    (encode,) = (step for step in steps if step.label == "encode")
    assert sizes[encode.key] == DataSize(train=10, train_limit=10, test=4, length=7)


def test_rows_that_are_read_are_counted_before_they_are_encoded(plan, tmp_path):
    counts = {"train": {"rows": 10}, "test": {"rows": 4}}
    (tmp_path / "summary.json").write_text(json.dumps(counts))
    steps = plan("+recipe=tiny").steps
    sizes = data_sizes(steps, lambda step: tmp_path if step.label == "read" else None)
    (encode,) = (step for step in steps if step.label == "encode")
    assert (sizes[encode.key].train, sizes[encode.key].test) == (10, 4)
    assert 0 < sizes[encode.key].length <= 128


UNSEEN = Files(train=("hf://datasets/org/rows@main",), max_length=64)
LOCAL = Files(train=(str(SHARE / "recipes/data/tiny/train.jsonl"),), max_length=64)


def test_local_files_are_guessed_by_their_first_lines():
    size = LOCAL.guess_size()
    lines = (SHARE / "recipes/data/tiny/train.jsonl").read_text().splitlines()
    assert round(size.train) == round(size.train_limit) == len(lines)
    assert 0 < size.within(64).length <= 64


def test_unseen_source_counts_as_a_thousand_rows():
    size = UNSEEN.guess_size().within(64)
    assert size == DataSize(train=1000, train_limit=MANY_ROWS, test=1000, length=32)


def test_mix_is_guessed_from_its_parts():
    mix, local = Mix(parts={"old": Part(data=UNSEEN), "new": Part(data=LOCAL)}), LOCAL.guess_size()
    size = mix.guess_size()
    assert size.train == 2 * min(1000, local.train)
    assert size.train_limit == 2 * local.train
    assert size.length == (32 + local.within(64).length) / 2
    assert mix.model_copy(update={"rows": 30, "test_rows": 5}).guess_size().train == 30


def seconds_of_tuning(config, plan, *words: str, data: Data) -> float:
    settings, step = config("+recipe=tiny", *words), plan("+recipe=tiny", *words).step("tune")
    sizes = {step.needs["data"].key: data.guess_size().within(64)}
    return estimate(step, settings, sizes).seconds


def test_max_steps_bounds_the_time_on_unseen_rows(config, plan):
    words = ("training.epochs=1", "training.micro_batch_size=1")
    by_epochs = seconds_of_tuning(config, plan, *words, data=UNSEEN)
    by_steps = seconds_of_tuning(config, plan, *words, "training.max_steps=2000", data=UNSEEN)
    assert round(by_steps - 5, 6) == round(2 * (by_epochs - 5), 6)  # 5 s are the start


def test_tune_step_takes_the_memory_that_the_rules_check(config, plan):
    settings, step = config("+recipe=tiny"), plan("+recipe=tiny").step("tune")
    sizes = {step.needs["data"].key: DataSize(100, 100, 10, 40)}
    assert estimate(step, settings, sizes).memory == tune_memory(settings, 40)
