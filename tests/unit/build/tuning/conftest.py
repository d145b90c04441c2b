"""Two tiny models and a simple training loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.build.task import LABEL_MASK, open_task

LANGUAGE, CLASSES = "causal-lm", "sequence-classification"


def _rows(task: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(1)
    found = []
    for index, length in enumerate((5, 12, 9, 16)):
        ids = torch.randint(4, 90, (length,), generator=draw)
        labels = ids.clone()
        labels[: length // 2] = LABEL_MASK
        found.append((ids, labels if task == LANGUAGE else torch.tensor([index % 3])))
    return found


@pytest.fixture(scope="session")
def probe() -> torch.Tensor:
    """Token ids that both models know, (2, 16)."""
    last = _rows(LANGUAGE)[3][0]
    return torch.stack([last, last.flip(0)])


@pytest.fixture(scope="session")
def logits(probe: torch.Tensor) -> Callable[[Any], torch.Tensor]:
    """The logits of a model for ``probe``."""

    def call(model: Any) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = model(input_ids=probe, attention_mask=torch.ones_like(probe)).logits
        return found

    return call


@pytest.fixture(scope="session")
def train() -> Callable[..., list[float]]:
    """Train on four rows, steps *first* to *stop* of 20, with a stateless optimizer."""

    def call(
        tuning: Any,
        model: Any,
        task: str,
        rate: float,
        first: int = 0,
        stop: int = 20,
        autocast: bool = False,
    ) -> list[float]:
        job = open_task(task)
        batch, weight = job.collate(_rows(task), 0), sum(job.weight(labels) for _, labels in _rows(task))
        trained = [part for part in model.parameters() if part.requires_grad]
        losses = []
        for step in range(first, stop):
            optimizer = torch.optim.AdamW(trained, lr=rate * (1 - step / 20), weight_decay=0.0)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = job.loss(model, dict(batch)) / weight
            losses.append(loss.item())
            added = tuning.penalty(model)
            (loss if added is None else loss + added).backward()
            optimizer.step()
            tuning.after_step(model, step + 1)
            optimizer.zero_grad()
        return losses

    return call


@pytest.fixture(scope="session")
def bases(tiny_base: Path, tiny_bert: Path) -> dict[str, Path]:
    """The base model of each task."""
    return {LANGUAGE: tiny_base, CLASSES: tiny_bert}


@pytest.fixture(scope="session")
def open_base(bases: dict[str, Path]) -> Callable[[str], Any]:
    """Open a new copy of the base model of a task."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # deterministic losses
    kinds: dict[str, Any] = {
        LANGUAGE: lambda folder: AutoModelForCausalLM.from_pretrained(folder),
        CLASSES: lambda folder: AutoModelForSequenceClassification.from_pretrained(folder, **still),
    }
    return lambda task: kinds[task](bases[task]).eval()
