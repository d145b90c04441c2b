"""Contrastive training of text-embedding models, with the other passages of a batch as negatives."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.training.run import TrainingRun
from framework.build.training.supervised import Supervised

if TYPE_CHECKING:
    from framework.build.task import Example, Task


class Contrastive(Supervised):
    """Learn to find a query's passage among those of the micro batch (InfoNCE, arXiv:1807.03748).

    Rows have ``query`` and ``passage``, and may have ``negatives``. The negatives of a query are all other
    passages of its micro batch, the negatives of other rows included. A passage that is in two rows counts
    once, and what answers the same query in another row is no negative. Micro batches of gradient
    accumulation and of other devices do not see each other's passages: a larger ``micro_batch_size`` makes
    the task harder, more accumulation does not. A micro batch of one row is refused.
    """

    tasks: ClassVar[tuple[str, ...]] = ("text-embedding",)
    least_rows: ClassVar[int] = 2

    temperature: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Divisor of the cosines: a lower temperature gives the nearest wrong passages more weight. 0.05 is the
    scale of 20 in sentence-transformers."""

    def objective(
        self, task: "Task", base: Any, examples: "Sequence[Example]", run: TrainingRun
    ) -> "tuple[Task, Sequence[Example]]":
        """Return the task with this temperature, and the rows."""
        from framework.build.task.text_embedding import TextEmbeddings

        return TextEmbeddings(self.temperature), examples
