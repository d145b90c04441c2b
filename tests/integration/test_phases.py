"""A recipe with two phases on a random model, from the command line to the release."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
RECIPE = """defaults:
- /data@phases.second.data: mix
- /data@phases.second.data.parts.old.data: tiny
- /data@phases.second.data.parts.new.data: files
- override /model: tiny
- override /data: tiny
- override /tuning: full
- override /compression: none
name: two
training: {learning_rate: 3e-3, precision: fp32}
phases:
  first: {training: {epochs: 30}}
  second:
    data:
      rows: 16
      test_parts: [new]
      max_length: 128
      parts: {old: {share: 1}, new: {share: 3, data: {train: new.jsonl, test: held.jsonl}}}
    training: {epochs: 2}
gates: {tuned.first_perplexity: {max: 1000}}
benchmark: {prompt_tokens: 8, new_tokens: 4, repeats: 1}
evaluation: {rows: 4}
export: {parity: {rows: 2, generations: 1}}
"""


def built(output: str) -> list[str]:
    return re.findall(r"^\[[ \d]+/\d+\] (.+)$", output, re.MULTILINE)


@pytest.mark.slow
def test_two_phases_end_to_end(tmp_path: Path, run: Run) -> None:
    rows = [
        json.dumps({"prompt": f"Is {n} large?", "completion": "yes" if n > 50 else "no"}) for n in range(100)
    ]
    (tmp_path / "new.jsonl").write_text("\n".join(rows[:90]))
    (tmp_path / "held.jsonl").write_text("\n".join(rows[90:]))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/two.yaml").write_text(RECIPE)
    done = run(tmp_path, "+recipe=two")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.index("tune first"), done.stdout.index("tune second")
    assert done.stdout.index("encode second") < first < done.stdout.index("evaluate first") < second

    release = json.loads((tmp_path / "environments/dev/two/release.lock").read_text())
    metrics = release["metrics"]
    for candidate in ("base", "first", "tuned", "fp32"):
        for metric in ("perplexity", "first_perplexity", "exact_match", "first_exact_match"):
            assert f"{candidate}.{metric}" in metrics
    # Every candidate is evaluated on the rows of both phases.
    assert metrics["first.first_perplexity"] < metrics["base.first_perplexity"] / 10
    assert metrics["tuned.perplexity"] < metrics["first.perplexity"]
    assert release["gates"]["tuned.first_perplexity"] == "<= 1000"
    first_words = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    candidates = ["base", "first", "tuned", "fp32"]
    names = ["exact", *candidates, "ends", *candidates, "answer", *candidates]
    assert " ".join(names) in " ".join(first_words)

    (mixed,) = (
        json.loads(file.read_text())
        for file in (tmp_path / ".gitune/store/encode").glob("*/summary.json")
        if json.loads(file.read_text())["train"]["rows"] == 16
    )
    assert mixed["test"]["rows"] == 10
    changed = run(tmp_path, "plan", "+recipe=two", "phases.second.training.epochs=3")
    state = dict(re.findall(r"^(\S.*?)\s{2,}(cached|run)\b", changed.stdout, re.MULTILINE))
    cached = {label for label, status in state.items() if status == "cached"}
    assert cached == {
        *("model", "read first", "read second", "encode first", "encode second", "evaluate base"),
        *("tune first", "merge first", "evaluate first"),
    }
