"""Training compared with a hand-written loop on the same rows: throughput, memory and time to the first step.

A Llama with 15 million random weights, LoRA of rank 8 on every linear layer, 2,000 rows of 20 to 400
tokens with heavy-tailed lengths, bfloat16 autocast, one thread. Each side is a process of its own.
Takes minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.process import environment

_ROWS = 2_000
_VOCABULARY = 32_000


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield our figures relative to the floor's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model")
        write_rows(folder / "data", _ROWS)
        floor, ours = (one(side, folder) for side in ("floor", "ours"))
    yield "floor: tokens a CPU second", floor["tokens"] / floor["training"], None
    yield "ours: tokens a CPU second", ours["tokens"] / ours["training"], None
    yield "CPU seconds of training, ours / floor", ours["training"] / floor["training"], 1 / 0.9
    yield "floor: peak memory, MiB", floor["peak"] / 2**20, None
    yield "peak memory, ours / floor", ours["peak"] / floor["peak"], 1.3
    yield "floor: CPU seconds to the first step's end", floor["start"], None
    yield "CPU seconds to the first step's end, ours / floor", ours["start"] / floor["start"], 1.2
    yield "loss of the last 50 steps, ours / floor", ours["loss"] / floor["loss"], 1.02


def one(side: str, folder: Path, options: dict[str, Any] | None = None) -> dict[str, float]:
    """Train in a separate process; return its own measurements and its total CPU seconds."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.training_{side}", str(folder)]
    command.append(json.dumps(options or {}))
    root = Path(__file__).parents[1]
    environ = {**environment(), "OMP_NUM_THREADS": "1"}
    before = os.times()
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True, env=environ)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {**json.loads(done.stdout.splitlines()[-1]), "seconds": spent}


def write_model(folder: Path) -> None:
    """Write the model as a Hugging Face folder without a tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def write_rows(folder: Path, count: int) -> None:
    """Write *count* rows as the encode step does: log-normal lengths with median 70, all tokens labeled."""
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(0)
    lengths = torch.exp(torch.randn(count, generator=draw) * 0.9 + 4.25).long().clamp(20, 400)
    # A constant step from each token to the next, so that there is something to learn.
    starts = torch.randint(0, 1_000, (count,), generator=draw)
    rows = [(start + 7 * torch.arange(int(n))) % 1_000 for start, n in zip(starts, lengths, strict=True)]
    ids = torch.cat(rows).int()
    (folder / "train").mkdir(parents=True)
    tensors = {"input_ids": ids, "labels": ids.clone(), "input_lengths": lengths}
    save_file({**tensors, "label_lengths": lengths.clone()}, folder / "train" / "00000.safetensors")
