import math
from pathlib import Path

import pytest
import torch

from framework.model import Model
from framework.task import LABEL_MASK
from framework.training.batches import RowOrder, read_examples, train_loader
from framework.training.module import TuneModule
from framework.training.supervised import Supervised


def ragged(rows: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of 4 to 20 tokens; the first half of each is prompt."""
    draw = torch.Generator().manual_seed(seed)
    examples = []
    for _ in range(rows):
        length = int(torch.randint(4, 21, (1,), generator=draw))
        ids = torch.randint(0, 250, (length,), generator=draw)
        labels = ids.clone()
        labels[: length // 2] = LABEL_MASK
        examples.append((ids, labels))
    return examples


def test_an_epoch_has_every_row_once_and_another_order_than_the_next() -> None:
    order = RowOrder(rows=23, batch_size=4, seed=3)
    assert len(order) == 6
    epochs = []
    for _ in range(3):
        batches = list(order)
        assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 3]
        epochs.append([row for batch in batches for row in batch])
        order.taken += len(batches)
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_an_order_goes_on_from_where_it_was() -> None:
    order, later = (RowOrder(rows=10, batch_size=3, seed=1) for _ in range(2))
    whole = []
    for _ in range(3):
        whole += list(order)
        order.taken += len(order)
    for taken in range(12):
        later.taken = taken
        end = (taken // 4 + 1) * 4
        assert list(later) == whole[taken:end]


def test_the_order_depends_on_the_seed_alone() -> None:
    assert list(RowOrder(20, 4, seed=5)) == list(RowOrder(20, 4, seed=5))
    assert list(RowOrder(20, 4, seed=5)) != list(RowOrder(20, 4, seed=6))


def test_loading_draws_nothing_from_torchs_own_random_state() -> None:
    loader = train_loader(ragged(9), Supervised(micro_batch_size=4), "causal-lm", pad=0, seed=0)
    before = torch.get_rng_state()
    batches = list(loader)
    assert torch.equal(before, torch.get_rng_state())
    assert [len(batch["labels"]) for batch in batches] == [4, 4, 1]


def test_rows_are_padded_on_the_left_and_positions_start_at_their_first_token() -> None:
    rows = [
        (torch.tensor([7, 8, 9]), torch.tensor([LABEL_MASK, 8, 9])),
        (torch.tensor([5]), torch.tensor([5])),
    ]
    loader = train_loader(rows, Supervised(micro_batch_size=2), "causal-lm", pad=1, seed=0)
    (batch,) = list(loader)
    short = int((batch["attention_mask"].sum(1) == 1).nonzero())
    assert batch["input_ids"][short].tolist() == [1, 1, 5]
    assert batch["labels"][short].tolist() == [LABEL_MASK, LABEL_MASK, 5]
    assert batch["attention_mask"][short].tolist() == [0, 0, 1]
    assert batch["position_ids"][short].tolist() == [0, 0, 0]
    assert batch["position_ids"][1 - short].tolist() == [0, 1, 2]


def test_classes_are_padded_on_the_right() -> None:
    rows = [(torch.tensor([7, 8, 9]), torch.tensor([2])), (torch.tensor([5]), torch.tensor([0]))]
    (batch,) = list(
        train_loader(rows, Supervised(micro_batch_size=2), "sequence-classification", pad=1, seed=0)
    )
    found = {
        tuple(ids.tolist()): (tuple(mask.tolist()), int(label))
        for ids, mask, label in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True)
    }
    assert found == {(7, 8, 9): ((1, 1, 1), 2), (5, 1, 1): ((1, 0, 0), 0)}


def test_prepared_rows_read_back(tiny_data: Path) -> None:
    examples = read_examples(tiny_data / "train.safetensors")
    assert len(examples) == 32
    assert all(len(ids) == len(labels) for ids, labels in examples)
    assert all(ids.dtype == labels.dtype == torch.int64 for ids, labels in examples)


@pytest.fixture(scope="module")
def module(tiny_model: Model, tiny_base: Path) -> TuneModule:
    return TuneModule(tiny_model.open(tiny_base), Supervised(precision="fp32"), "causal-lm", steps=1)


def plain_loss(module: TuneModule, examples: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Mean over all labelled tokens of rows that go through the model one by one, unpadded."""
    total, tokens = 0.0, 0
    for ids, labels in examples:
        logits = module.model(input_ids=ids[None]).logits[0, :-1].float()
        wanted = labels[1:]
        total += float(torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum"))
        tokens += int((wanted != LABEL_MASK).sum())
    return total / tokens


def batch_loss(module: TuneModule, examples: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    training = Supervised(micro_batch_size=len(examples))
    (batch,) = list(train_loader(examples, training, "causal-lm", pad=256, seed=0))
    return float(module.training_step(batch, 0))


@torch.no_grad()
def test_a_padded_batch_has_the_loss_of_its_rows_one_by_one(module: TuneModule) -> None:
    for seed in range(3):
        examples = ragged(6, seed)
        assert batch_loss(module, examples) == pytest.approx(plain_loss(module, examples), abs=1e-5)


@torch.no_grad()
def test_the_loss_is_on_the_labelled_tokens_only(module: TuneModule) -> None:
    """With uniform logits each labelled token costs ln(vocabulary), however long the prompt is."""
    examples = ragged(5)
    weight = module.model.lm_head.weight
    kept = weight.clone()
    weight.zero_()
    try:
        assert batch_loss(module, examples) == pytest.approx(math.log(259), abs=1e-5)
    finally:
        weight.copy_(kept)
    changed = [(ids, labels.clone()) for ids, labels in examples]
    for ids, labels in changed:
        labels[len(ids) // 2 - 1] = int(ids[len(ids) // 2 - 1])  # one prompt token is learnt as well
    assert abs(batch_loss(module, changed) - batch_loss(module, examples)) > 1e-4


def test_a_document_that_is_learnt_from_its_first_token_has_a_loss(module: TuneModule) -> None:
    ids = torch.arange(10, 20)
    with torch.no_grad():
        assert batch_loss(module, [(ids, ids)]) == pytest.approx(plain_loss(module, [(ids, ids)]), abs=1e-5)


def test_biases_and_norms_are_spared_from_weight_decay(module: TuneModule) -> None:
    module.training_config = Supervised(weight_decay=0.1)
    decayed, spared = module.configure_optimizers()["optimizer"].param_groups
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in spared["params"])
    total = len(decayed["params"]) + len(spared["params"])
    assert total == len(list(module.model.parameters()))


def test_a_classifier_is_trained_by_its_class_loss(tiny_bert: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()
    module = TuneModule(model, Supervised(), "sequence-classification", steps=1)
    rows = [(torch.tensor([2, 7, 8, 3]), torch.tensor([2])), (torch.tensor([2, 5, 3]), torch.tensor([0]))]
    (batch,) = list(
        train_loader(rows, Supervised(micro_batch_size=2), "sequence-classification", pad=0, seed=0)
    )
    with torch.no_grad():
        logits = torch.cat([model(input_ids=ids[None]).logits for ids, _ in rows])
        wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 0]))
        assert float(module.training_step(batch, 0)) == pytest.approx(float(wanted), abs=1e-5)
