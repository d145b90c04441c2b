"""The floor of ``benchmarks.training``: an optimized hand-written loop.

It does not import the framework. Rows are concatenated, attention runs per row, the head sees only labeled
positions, and the optimizer step is fused.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import AttentionInterface, AutoModelForCausalLM, get_scheduler

ROWS = 8
LEARNING_RATE = 2e-4


def by_row(module, query, key, value, attention_mask, scaling=None, lengths=(), **unused):
    """Attend within each of the concatenated rows."""
    parts = zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    outs = [scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling) for q, k, v in parts]
    return torch.cat(outs, 2).transpose(1, 2), None


def train(folder: Path) -> dict[str, float]:
    """Train one epoch; return the measurements."""
    torch.manual_seed(0)
    stored = load_file(folder / "data" / "train" / "00000.safetensors")
    rows = torch.split(stored["input_ids"].long(), stored["input_lengths"].tolist())
    AttentionInterface.register("by_row", by_row)
    base = AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="by_row"
    )
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    order = numpy.random.default_rng([0, 0]).permutation(len(rows))  # the same batches as our side
    steps = len(rows) // ROWS
    schedule = get_scheduler("linear", optimizer, round(0.1 * steps), steps)
    losses, tokens, start = [], 0, 0.0
    for step in range(steps):
        chosen = [rows[row] for row in order[step * ROWS : (step + 1) * ROWS]]
        lengths = [len(row) for row in chosen]
        ids = torch.cat(chosen)
        positions = torch.cat([torch.arange(length) for length in lengths])
        places = (positions[1:] != 0).nonzero()[:, 0]
        with torch.autocast("cpu", torch.bfloat16):
            output = model(
                input_ids=ids[None],
                position_ids=positions[None],
                logits_to_keep=places,
                use_cache=False,
                lengths=lengths,
            )
        loss = cross_entropy(output.logits[0].float(), ids[places + 1])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step == 0:
            start = time.process_time()
        else:
            tokens += len(ids)
    return report(tokens, start, losses)


def report(tokens: int, start: float, losses: list[float]) -> dict[str, float]:
    """Return CPU seconds and peak bytes of this process; *tokens* excludes the first step."""
    return {
        "tokens": tokens,
        "start": start,
        "training": time.process_time() - start,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss": sum(losses[-50:]) / len(losses[-50:]),
    }


if __name__ == "__main__":
    print(json.dumps(train(Path(sys.argv[1]))))
