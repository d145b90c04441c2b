"""``select=diversity``: rows of every kind, where a corpus has many of one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, PrivateAttr

from framework.build.clean import Batch
from framework.build.select.examples import batch_texts, row_texts
from framework.build.select.ranked import Ranked, draws
from framework.build.select.word_weights import TfIdf

if TYPE_CHECKING:
    import numpy as np


class Diversity(Ranked):
    """Take rows in turn from groups of similar ones, so that frequent kinds do not crowd out rare ones.

    The groups are made by k-means over TF-IDF weights in mini-batches (Sculley 2010), so rows are similar if
    they share rare words; a paraphrase may be in another group.
    """

    seconds_per_row: ClassVar[float] = 1.5e-4
    order: ClassVar[str] = "turn, draw"
    ordered: ClassVar[str] = (
        "(select *, row_number() over (partition by kind order by draw, number) as turn from columns)"
    )
    shown: ClassVar[str] = "turn"

    groups: Annotated[int, Field(ge=2, le=10_000)] = 20
    """Groups: about as many as there are kinds. With more, a frequent kind fills many of them."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Where the groups start, and which row of a group is taken first."""

    _tf_idf: TfIdf | None = PrivateAttr(None)
    _groups: Any = PrivateAttr(None)

    def opened(self, rows: Path) -> Self:
        """Return the option with each word's weight in *rows*, and the groups."""
        from sklearn.cluster import MiniBatchKMeans

        copy = self.model_copy()
        copy._tf_idf = tf_idf = TfIdf.of(row_texts(rows, self.on))
        for texts in row_texts(rows, self.on):
            if copy._groups is None:
                groups = min(self.groups, len(texts))
                copy._groups = MiniBatchKMeans(groups, random_state=self.seed, n_init=1)
            copy._groups.partial_fit(tf_idf.weights(texts))
        return copy

    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return the group of each row, and a number by which it is drawn."""
        assert self._tf_idf is not None, "columns is for what opened() returns"
        kinds = self._groups.predict(self._tf_idf.weights(batch_texts(batch, self.on)))
        return {"kind": kinds, "draw": draws(batch, self.seed)}
