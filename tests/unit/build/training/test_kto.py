"""KTO on a tiny model: its loss computed by hand, its effect on rewards, and the rows that it refuses."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.build.data.files import Files
from framework.build.engine import open_engine
from framework.build.evaluation import Base
from framework.build.evaluation.held_out import HeldOut
from framework.build.evaluation.preference import METRICS, PreferenceEvaluation
from framework.build.model import Model
from framework.build.parallelism.single import Single
from framework.build.stages.evaluate import EXAMPLES, Evaluate
from framework.build.stages.tune import Tune
from framework.build.task import Example
from framework.build.task.causal_lm import CausalLanguageModeling
from framework.build.task.judged_answers import PARTS, Judgments, with_reference
from framework.build.training.batches import Batches, read_examples
from framework.build.training.dpo import Dpo
from framework.build.training.kto import Kto
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.build.tuning.full import Full
from framework.core.errors import StepError
from framework.core.step import Workspace

RECIPE = Path(__file__).parents[4] / "recipes" / "data" / "tiny"
NAMES = ("even", "odd")


@pytest.fixture(scope="module")
def prepared(
    tiny_model: Model,
    tiny_base: Path,
    prepare_rows: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[list[dict[str, Any]]], Path]:
    """Encode rows, the same ones for both splits."""

    def call(rows: list[dict[str, Any]]) -> Path:
        folder = tmp_path_factory.mktemp("rows")
        for split in ("train", "test"):
            text = "".join(json.dumps({**row, "system": split}) + "\n" for row in rows)
            (folder / f"{split}.jsonl").write_text(text)
        data = Files(train=str(folder / "train.jsonl"), test=str(folder / "test.jsonl"), max_length=128)
        return prepare_rows(data, tiny_model, tiny_base, folder / "rows")

    return call


@pytest.fixture(scope="module")
def judged(
    tiny_model: Model,
    tiny_base: Path,
    prepare_rows: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The rows of the recipe ``tiny-kto``: sentences are desirable, single words are not."""
    files = {split: str(RECIPE / f"judged-{split}.jsonl") for split in ("train", "test")}
    folder = tmp_path_factory.mktemp("judged")
    return prepare_rows(Files(**files, max_length=128), tiny_model, tiny_base, folder / "rows")


def row(number: int, label: bool | None = None, prompt: str | None = None) -> dict[str, Any]:
    raw = {"prompt": prompt or f"{number}?", "completion": NAMES[number % 2]}
    return raw if label is None else {**raw, "label": label}


def moved(model: Any, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += size * torch.randn(weight.shape, generator=generator)


def by_hand(model: Any, ids: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probability of the labels, token by token."""
    scores = model(ids[None]).logits[0].log_softmax(-1)
    places = [place for place in range(1, len(ids)) if labels[place] != -100]
    return torch.stack([scores[place - 1, ids[place]] for place in places]).sum()


@pytest.mark.parametrize(("seed", "is_clamped"), [(1, False), (2, True)])
def test_loss_and_gradient_are_those_of_the_paper(
    seed: int, is_clamped: bool, tiny_model: Model, tiny_base: Path, judged: Path
) -> None:
    model = tiny_model.open(tiny_base)
    rows = with_reference(model, read_examples(judged / "train")[:6], pad=0, seed=0)
    task = Judgments(beta=0.3, desirable_weight=1.5, undesirable_weight=0.5)
    batch = task.collate(rows, 0)
    good = [bool(part[4]) for part in rows]
    assert good == [True, True, False, False, True, True]
    # Before training every log-ratio and z0 are 0, so each answer loses half its weight.
    assert float(task.loss(model, batch).detach()) == pytest.approx((4 * 1.5 + 2 * 0.5) / 2, rel=1e-5)
    moved(model, 0.02, seed)
    ratios, mismatched = [], []
    for ids, labels, other_ids, other_labels, _, reference in rows:
        ratios.append(by_hand(model, ids, labels) - reference[0])
        mismatched.append(float((by_hand(model, other_ids, other_labels) - reference[1]).detach()))
    mean = sum(mismatched) / len(mismatched)
    assert (mean < 0) == is_clamped
    z0 = max(0.0, mean)
    expected = torch.stack(
        [
            1.5 * (1 - 1 / (1 + torch.exp(-0.3 * (ratio - z0))))
            if is_good
            else 0.5 * (1 - 1 / (1 + torch.exp(-0.3 * (z0 - ratio))))
            for ratio, is_good in zip(ratios, good, strict=True)
        ]
    ).sum()
    loss = task.loss(model, batch)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    weights = [*model.parameters()]
    for found, wanted in zip(
        torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def prompt_of(ids: Tensor, labels: Tensor) -> tuple[int, ...]:
    return tuple(ids[: int((labels != -100).int().argmax())].tolist())


def test_mismatched_answers_are_of_another_prompt_and_no_longer_than_rows(
    tiny_model: Model, tiny_base: Path, prepared: Callable[..., Path]
) -> None:
    prompts = [("a?", True), ("0?", False), ("a?", False), ("1?", True), ("long " * 10, True), ("2?", True)]
    given = [
        {"prompt": prompt, "completion": f"{n} is it" + " long" * (n % 2 * 8), "label": label}
        for n, (prompt, label) in enumerate(prompts)
    ]
    stored = read_examples(prepared(given) / "train")
    rows = with_reference(tiny_model.open(tiny_base), stored, pad=0, seed=3)
    longest = max(len(ids) for ids, *_ in stored)
    answers = {tuple(labels[labels != -100].tolist()): prompt_of(ids, labels) for ids, labels, _ in stored}
    cut = 0
    for ids, labels, other_ids, other_labels, *_ in rows:
        assert prompt_of(other_ids, other_labels) == prompt_of(ids, labels)
        answer = tuple(other_labels[other_labels != -100].tolist())
        (source,) = [prompt for whole, prompt in answers.items() if whole[: len(answer)] == answer]
        assert source != prompt_of(ids, labels)
        assert 0 < len(other_ids) <= longest
        cut += answer not in answers
    assert cut
    again = with_reference(tiny_model.open(tiny_base), stored, pad=0, seed=3)
    assert all(torch.equal(one, other) for one, other in zip(rows[0], again[0], strict=True))


def test_a_pair_is_a_good_and_a_bad_answer(
    tiny_model: Model, tiny_base: Path, prepared: Callable[..., Path]
) -> None:
    folder = prepared([{"prompt": f"{n}?", "chosen": "yes", "rejected": "no"} for n in range(3)])
    rows = with_reference(tiny_model.open(tiny_base), read_examples(folder / "train"), pad=0, seed=0)
    task = Judgments(answers=2)
    batch = task.collate(rows, 0)
    assert [len(parts) for parts in rows] == [2 * PARTS] * 3
    assert batch["desirable"].tolist() == [True, False] * 3
    assert task.weight(rows[0][1]) == 2
    assert tuple(batch["reference"].shape) == (6, 2)
    alone = [by_hand(tiny_model.open(tiny_base), *rows[1][at : at + 2]) for at in (0, 2, 6, 8)]
    assert batch["reference"][2:4].flatten().tolist() == pytest.approx(
        [float(a.detach()) for a in alone], rel=1e-4
    )


def option(**more: Any) -> Kto:
    return Kto(**{"learning_rate": 2e-3, "micro_batch_size": 8, "max_steps": 32, "precision": "fp32", **more})


def on_cpu(model: Model, base: Path, data: Path, folder: Path) -> TrainingRun:
    folders = Folders(model=base, data=data, output=folder / "out", scratch=folder / "scratch")
    for each in (folders.output, folders.scratch):
        each.mkdir()
    return TrainingRun(
        model=model, tuning=Full(), parallelism=Single(), device="cpu", folders=folders, seed=0
    )


def test_rewards_follow_the_labels(
    tiny_model: Model, tiny_base: Path, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = on_cpu(tiny_model, tiny_base, judged, tmp_path)
    option().fit(run)
    log = [json.loads(line) for line in (run.folders.output / "log.jsonl").read_text().splitlines()]
    assert log[0]["loss"] == pytest.approx(0.5, abs=1e-3)  # the first step starts from the reference
    assert log[-1]["loss"] < 0.35
    rows = read_examples(judged / "test")
    base = Base(decode=lambda ids: "", open=lambda: open_engine("torch", tiny_base))
    engine = open_engine("torch", run.folders.output)
    metrics = PreferenceEvaluation().measure(engine, "causal-lm", rows, base)
    assert metrics["reward_accuracy"] == 1.0
    assert metrics["reward_margin"] > 1
    assert "preference_accuracy" not in metrics
    assert set(metrics) | {METRICS[0]} == set(PreferenceEvaluation().metrics("causal-lm"))
    # Text is measured on the good answers alone.
    assert "4 of 8 test rows have label false" in capsys.readouterr().out
    good = [parts for parts in rows if parts[2]]
    alone = CausalLanguageModeling().measure(engine, good)
    assert {name: metrics[name] for name in alone} == alone
    assert HeldOut().measure(engine, "causal-lm", rows) == alone
    with pytest.raises(StepError, match="every test row has label false"):
        HeldOut().measure(engine, "causal-lm", [parts for parts in rows if not parts[2]])


def test_untrained_rewards_agree_with_no_label(tiny_base: Path, judged: Path) -> None:
    base = Base(decode=lambda ids: "", open=lambda: open_engine("torch", tiny_base))
    engine, rows = open_engine("torch", tiny_base), read_examples(judged / "test")
    metrics = PreferenceEvaluation(rows=3).measure(engine, "causal-lm", rows, base)
    assert (metrics["reward_accuracy"], metrics["reward_margin"]) == (0.0, 0.0)


def test_no_bad_answer_is_shown_as_the_expected_one(
    tiny_model: Model, tiny_base: Path, judged: Path, tmp_path: Path
) -> None:
    stage = Evaluate(
        candidate="tuned", engine="torch", model=tiny_model, evaluation=HeldOut(rows=1), examples=4
    )
    inputs = {"candidate": tiny_base, "data": judged, "data_model": tiny_base}
    stage.run(inputs, tmp_path, Workspace(tmp_path))
    shown = [json.loads(line)["expected"] for line in (tmp_path / EXAMPLES).read_text().splitlines()]
    assert shown == ["It is even.", "It is odd."] * 2


@pytest.mark.parametrize(
    ("rows", "override"),
    [
        ([row(n) for n in range(4)], "training=supervised"),
        ([row(n, True) for n in range(4)], "training=supervised"),
        ([row(n, False) for n in range(4)], "label false"),
        ([row(n, n > 1, "same?") for n in range(4)], "all rows have the same prompt"),
    ],
    ids=["no label", "good only", "bad only", "one prompt"],
)
def test_rows_that_kto_cannot_learn_from_are_named(
    rows: list[dict[str, Any]],
    override: str,
    tiny_model: Model,
    tiny_base: Path,
    prepared: Callable[..., Path],
    tmp_path: Path,
) -> None:
    run = on_cpu(tiny_model, tiny_base, prepared(rows), tmp_path)
    with pytest.raises(StepError) as caught:
        option().fit(run)
    assert override in str(caught.value)


def test_only_kto_learns_from_bad_answers(
    tiny_model: Model,
    tiny_base: Path,
    judged: Path,
    prepared: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[Any] = []
    monkeypatch.setattr(Supervised, "fit", lambda self, run: fitted.append(type(self)))
    parts: Any = {"model": tiny_model, "tuning": Full(), "parallelism": Single(), "device": "cpu", "seed": 0}

    def tune(training: Supervised, data: Path, recovers: bool = False) -> None:
        stage = Tune(**parts, training=training, recovers=recovers)
        stage.run({"model": tiny_base, "data": data}, tmp_path, Workspace(tmp_path))

    for refused in (Supervised(), Dpo()):
        with pytest.raises(StepError, match=r"16 rows have label false.*set training=kto"):
            tune(refused, judged)
    tune(Supervised(), prepared([row(n, True) for n in range(4)]))
    tune(Supervised(), judged, recovers=True)
    tune(Kto(), judged)
    assert fitted == [Supervised, Supervised, Kto]


def test_dpo_names_kto_for_rows_with_labels(
    tiny_model: Model, tiny_base: Path, judged: Path, tmp_path: Path
) -> None:
    run = on_cpu(tiny_model, tiny_base, judged, tmp_path)
    with pytest.raises(StepError, match="set training=kto"):
        Dpo(max_steps=1, precision="fp32").fit(run)


def test_a_recovery_learns_the_good_answers_alone(
    tiny_model: Model, tiny_base: Path, judged: Path, tmp_path: Path
) -> None:
    run = on_cpu(tiny_model, tiny_base, judged, tmp_path)
    stored = read_examples(judged / "train")
    _, batches = Supervised(precision="fp32")._prepare(run)
    rows: Sequence[Example] = batches.examples
    good = [number for number, parts in enumerate(stored) if parts[2]]
    assert [batches.stored(number) for number in range(len(rows))] == good
    assert all(torch.equal(rows[at][0], stored[number][0]) for at, number in enumerate(good))
    plain = Batches(stored, CausalLanguageModeling(), 2, 1, seed=0)
    assert plain.stored(3) == 3
    assert math.isclose(sum(batches.weights), sum(plain.weights[good]))
