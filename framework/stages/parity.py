"""Stage ``parity``: how far each export is from the PyTorch model that it was made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.core.step import Stage, Workspace
from framework.engine import Engine, open_engine
from framework.export import Parity
from framework.model import LABEL_MASK
from framework.stages.evaluate import write_metrics
from framework.training.batches import read_examples

if TYPE_CHECKING:
    import numpy as np

_NEW_TOKENS = 32


class CompareExports(Stage):
    """Compare every candidate with PyTorch on the same held-out rows.

    Metrics for each candidate: ``max_difference`` and ``mean_difference`` (of logits, absolute),
    ``agreement`` (share of labelled positions, or of rows, with the same arg-max) and, for language
    models, ``generation_agreement`` (share of whole greedy generations that are equal).
    """

    name: ClassVar[str] = "parity"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "onnxruntime", "onnxruntime-genai")

    parity: Parity
    """How many rows are compared; the bounds themselves belong to the gate."""
    task: str
    """The model's task."""
    engine: str
    """The engine of the candidates."""
    candidates: tuple[str, ...]
    """Labels of the candidates, which are also the slots of the inputs."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Compare each candidate's input with input ``model`` on the test rows of input ``data``."""
        rows = read_examples(inputs["data"] / "test.safetensors")[: self.parity.rows]
        reference = open_engine("torch", inputs["model"])
        metrics: dict[str, float] = {}
        for candidate in self.candidates:
            engine = open_engine(self.engine, inputs[candidate])
            found = self._compare(reference, engine, rows)
            metrics |= {f"{candidate}.{name}": value for name, value in found.items()}
        write_metrics(output, metrics)

    def _compare(self, reference: Engine, engine: Engine, rows: Sequence[Any]) -> dict[str, float]:
        import numpy as np

        if self.task == "sequence-classification":
            ids = [row.tolist() for row, _ in rows]
            return _differences([reference.classify(ids)], [engine.classify(ids)])
        wanted, given = [], []
        for ids, labels in rows:
            places = np.flatnonzero(labels.numpy()[1:] != LABEL_MASK)
            wanted.append(reference.logits([ids.tolist()])[0][places])
            given.append(engine.logits([ids.tolist()])[0][places])
        found = _differences(wanted, given)
        generated = rows[: self.parity.generations]
        if generated:
            same = [_answers_alike(reference, engine, ids, labels) for ids, labels in generated]
            found["generation_agreement"] = sum(same) / len(same)
        return found


def _differences(wanted: "list[np.ndarray]", given: "list[np.ndarray]") -> dict[str, float]:
    import numpy as np

    one, other = np.concatenate(wanted), np.concatenate(given)
    apart = np.abs(one - other)
    return {
        "max_difference": float(apart.max()),
        "mean_difference": float(apart.mean()),
        "agreement": float((one.argmax(-1) == other.argmax(-1)).mean()),
    }


def _answers_alike(reference: Engine, engine: Engine, ids: Any, labels: Any) -> bool:
    start = int((labels != LABEL_MASK).int().argmax())
    prompt = ids[: max(start, 1)].tolist()
    return list(reference.generate(prompt, _NEW_TOKENS)) == list(engine.generate(prompt, _NEW_TOKENS))
