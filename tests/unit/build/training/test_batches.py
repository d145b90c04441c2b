import math
from itertools import islice
from pathlib import Path

import pytest
import torch

from framework.build.model import Model
from framework.build.parallelism.single import Single
from framework.build.task import LABEL_MASK, Example, Task
from framework.build.task.causal_lm import CausalLanguageModeling
from framework.build.task.packing import can_pack, use_packed_attention
from framework.build.task.sequence_classification import SequenceClasses
from framework.build.training.batches import Batches, RowOrder, read_examples
from framework.build.training.module import TuneModule
from framework.build.training.supervised import Supervised
from framework.build.tuning.full import Full
from framework.build.tuning.prompt import Prompt

CAUSAL, CLASSES = CausalLanguageModeling(), SequenceClasses()


def ragged(rows: int, seed: int = 0) -> list[Example]:
    """Rows of 4 to 20 tokens; the first half of each is the prompt."""
    draw = torch.Generator().manual_seed(seed)
    examples = []
    for _ in range(rows):
        length = int(torch.randint(4, 21, (1,), generator=draw))
        ids = torch.randint(0, 250, (length,), generator=draw)
        labels = ids.clone()
        labels[: length // 2] = LABEL_MASK
        examples.append((ids, labels))
    return examples


def test_each_pass_has_every_row_once_in_a_new_order() -> None:
    order = RowOrder(rows=23, seed=3)
    passes = [order[start : start + 23] for start in (0, 23, 46)]
    assert all(sorted(rows) == list(range(23)) for rows in passes)
    assert passes[0] != passes[1] != passes[2]
    assert order[20:30] == passes[0][20:] + passes[1][:7]


def test_order_depends_on_the_seed_only() -> None:
    assert RowOrder(20, seed=5)[0:40] == RowOrder(20, seed=5)[0:40]
    assert RowOrder(20, seed=5)[0:20] != RowOrder(20, seed=6)[0:20]


def test_step_split_changes_neither_rows_nor_weight() -> None:
    examples = ragged(11)

    def steps(micro: int, accumulation: int, ranks: int) -> list[tuple[list[int], int]]:
        per_rank = [
            Batches(examples, CAUSAL, micro, accumulation, 0, rank=rank, ranks=ranks) for rank in range(ranks)
        ]
        result = []
        for step in range(4):
            micro_batches = [
                batches.at(step * accumulation + i) for i in range(accumulation) for batches in per_rank
            ]
            (weight,) = {batch["weight"] for batch in micro_batches}
            result.append((sorted(row for batch in micro_batches for row in batch["rows"]), weight))
        return result

    whole = steps(8, 1, 1)
    assert steps(4, 2, 1) == steps(2, 4, 1) == steps(4, 1, 2) == steps(1, 2, 4) == whole
    labeled = [int((labels != LABEL_MASK).sum()) for _, labels in examples]
    assert [weight for _, weight in whole] == [sum(labeled[row] for row in rows) for rows, _ in whole]


def test_iteration_resumes_after_the_taken_batches() -> None:
    whole = [batch["rows"] for batch in islice(Batches(ragged(10), CAUSAL, 3, 2, seed=1), 12)]
    for taken in range(10):
        later = Batches(ragged(10), CAUSAL, 3, 2, seed=1)
        later.taken = taken
        assert [batch["rows"] for batch in islice(later, 2)] == whole[taken : taken + 2]


def test_batching_leaves_torchs_random_state_alone() -> None:
    batches = Batches(ragged(9), CAUSAL, 4, 1, seed=0)
    before = torch.get_rng_state()
    assert [len(batches.at(index)["labels"]) for index in range(3)] == [4, 4, 4]
    assert torch.equal(before, torch.get_rng_state())


def test_left_padded_positions_start_at_the_first_token() -> None:
    rows = [
        (torch.tensor([7, 8, 9]), torch.tensor([LABEL_MASK, 8, 9])),
        (torch.tensor([5]), torch.tensor([5])),
    ]
    batch = CAUSAL.collate(rows, pad=1)
    assert batch["input_ids"].tolist() == [[7, 8, 9], [1, 1, 5]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]
    # Nothing precedes a row's first token, so nothing can predict it.
    assert batch["labels"].tolist() == [[LABEL_MASK, 8, 9], [LABEL_MASK] * 3]


def test_packed_rows_are_concatenated_with_own_positions() -> None:
    rows = [(torch.tensor([7, 8, 9]), torch.tensor([7, 8, 9])), (torch.tensor([5, 6]), torch.tensor([5, 6]))]
    batch = CAUSAL.collate(rows, pad=1, packed=True)
    assert batch["input_ids"].tolist() == [[7, 8, 9, 5, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [[LABEL_MASK, 8, 9, LABEL_MASK, 6]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 5]
    assert batch["max_length_q"] == 3


def test_classifier_rows_are_padded_on_the_right() -> None:
    rows = [(torch.tensor([7, 8, 9]), torch.tensor([2])), (torch.tensor([5]), torch.tensor([0]))]
    batch = CLASSES.collate(rows, pad=1)
    assert batch["input_ids"].tolist() == [[7, 8, 9], [5, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [2, 0]


def test_encoded_rows_are_read_back(tiny_data: Path) -> None:
    examples = read_examples(tiny_data / "train.safetensors")
    assert len(examples) == 32
    assert all(len(ids) == len(labels) for ids, labels in examples)
    assert all(ids.dtype == labels.dtype == torch.int64 for ids, labels in examples)


@pytest.fixture(scope="module")
def module(tiny_model: Model, tiny_base: Path) -> TuneModule:
    return TuneModule(tiny_model.open(tiny_base), Supervised(precision="fp32"), CAUSAL, 1, Full(), Single())


@pytest.fixture(scope="module")
def packing(tiny_model: Model, tiny_base: Path) -> TuneModule:
    model = tiny_model.open(tiny_base)
    assert can_pack(model)
    use_packed_attention(model)
    return TuneModule(model, Supervised(precision="fp32"), CAUSAL, 1, Full(), Single())


def plain_loss(module: TuneModule, examples: list[Example]) -> torch.Tensor:
    """The mean loss over all labeled tokens, with one unpadded row per forward pass."""
    losses, tokens = [], 0
    for ids, labels in examples:
        logits = module.model(input_ids=ids[None]).logits[0, :-1].float()
        wanted = labels[1:]
        losses.append(torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum"))
        tokens += int((wanted != LABEL_MASK).sum())
    return torch.stack(losses).sum() / tokens


def batch_loss(
    module: TuneModule, examples: list[Example], task: Task = CAUSAL, packed: bool = False
) -> torch.Tensor:
    batches = Batches(examples, task, len(examples), 1, seed=0, packed=packed)
    return module.training_step(batches.at(0), 0)


@torch.no_grad()
def test_padded_batch_has_the_loss_of_single_rows(module: TuneModule) -> None:
    for seed in range(3):
        examples = ragged(6, seed)
        assert float(batch_loss(module, examples)) == pytest.approx(
            float(plain_loss(module, examples)), abs=1e-5
        )


def test_packed_batch_has_loss_and_gradients_of_single_rows(module: TuneModule, packing: TuneModule) -> None:
    for seed in range(3):
        examples = ragged(7, seed)
        packed, alone = batch_loss(packing, examples, packed=True), plain_loss(module, examples)
        assert packed.item() == pytest.approx(alone.item(), abs=1e-5)
        gradients = [
            torch.autograd.grad(loss, tuple(owner.model.parameters()))
            for loss, owner in ((packed, packing), (alone, module))
        ]
        apart = max(float((one - other).abs().max()) for one, other in zip(*gradients, strict=True))
        assert apart < 1e-5
        assert max(float(one.abs().max()) for one in gradients[0]) > 1e-2


@torch.no_grad()
def test_packed_row_does_not_attend_to_earlier_rows(packing: TuneModule) -> None:
    (ids, labels), *others = ragged(4)
    alone = CAUSAL.loss(packing.model, CAUSAL.collate([(ids, labels)], 0, packed=True))
    for before in ([others[0]], [others[1], others[2]]):
        rows = [*before, (ids, labels)]
        together = CAUSAL.loss(packing.model, CAUSAL.collate(rows, 0, packed=True))
        without = CAUSAL.loss(packing.model, CAUSAL.collate(before, 0, packed=True))
        assert float(together - without) == pytest.approx(float(alone), abs=1e-3)


@torch.no_grad()
def test_packed_row_respects_the_sliding_window() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=5,
    )
    model = MistralForCausalLM(config).eval()
    examples = ragged(5)
    alone = [float(CAUSAL.loss(model, CAUSAL.collate([row], 0))) for row in examples]
    use_packed_attention(model)
    assert float(CAUSAL.loss(model, CAUSAL.collate(examples, 0, packed=True))) == pytest.approx(
        sum(alone), abs=1e-3
    )


@torch.no_grad()
def test_loss_is_on_labeled_tokens_only(module: TuneModule) -> None:
    """With uniform logits each labeled token costs ln(vocabulary), whatever the length of the prompt."""
    examples = ragged(5)
    weight = module.model.lm_head.weight
    kept = weight.clone()
    weight.zero_()
    try:
        assert float(batch_loss(module, examples)) == pytest.approx(math.log(259), abs=1e-5)
    finally:
        weight.copy_(kept)
    changed = [(ids, labels.clone()) for ids, labels in examples]
    for ids, labels in changed:
        labels[len(ids) // 2 - 1] = int(ids[len(ids) // 2 - 1])  # a prompt token gets a loss too
    assert abs(float(batch_loss(module, changed) - batch_loss(module, examples))) > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("packed", [False, True])
def test_document_without_prompt_has_a_loss(module: TuneModule, packing: TuneModule, packed: bool) -> None:
    ids = torch.arange(10, 20)
    loss = batch_loss(packing if packed else module, [(ids, ids)], packed=packed)
    assert float(loss) == pytest.approx(float(plain_loss(module, [(ids, ids)])), abs=1e-5)


def test_biases_and_norms_have_no_weight_decay(module: TuneModule) -> None:
    module.training_config = Supervised(weight_decay=0.1)
    decayed, spared = module.configure_optimizers()["optimizer"].param_groups
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in spared["params"])
    total = len(decayed["params"]) + len(spared["params"])
    assert total == len(list(module.model.parameters()))


def test_classifier_is_trained_with_class_loss(tiny_bert: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()
    module = TuneModule(model, Supervised(), CLASSES, 1, Full(), Single())
    rows = [(torch.tensor([2, 7, 8, 3]), torch.tensor([2])), (torch.tensor([2, 5, 3]), torch.tensor([0]))]
    with torch.no_grad():
        logits = torch.cat([model(input_ids=ids[None]).logits for ids, _ in rows])
        wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 0]))
        assert float(batch_loss(module, rows, CLASSES)) == pytest.approx(float(wanted), abs=1e-5)


def test_model_without_packed_attention_is_padded(tiny_model: Model, tiny_base: Path) -> None:
    prompted = Prompt(num_virtual_tokens=4).apply(tiny_model.open(tiny_base), "causal-lm")
    assert not can_pack(prompted)
    capped = tiny_model.open(tiny_base)
    capped.config.attn_logit_softcapping = 50.0
    assert not can_pack(capped)
