"""The base of every compression option: how an exported model is made smaller."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from framework.core.component import Component
from framework.export import Export


class Compression(Component, ABC):
    """How the shipped candidate differs from the uncompressed export."""

    label: ClassVar[str]
    """The candidate's name in metrics and reports, such as ``int4``."""

    changes_nothing: ClassVar[bool] = False
    """True where the uncompressed export is what is shipped."""

    exports: ClassVar[tuple[str, ...]] = ()
    """Engines of the exports that the method can compress; empty for all."""

    @abstractmethod
    def compress(self, export: Export, model: Path, exported: Path, output: Path) -> None:
        """Write the compressed candidate to *output*.

        Args:
            export: the exporter, for methods that quantise while they export.
            model: the merged Hugging Face folder.
            exported: what ``export`` wrote without compression.
            output: a folder that the same engine serves, with all that ``exported`` holds.
        """
