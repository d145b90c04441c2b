"""``clean=language``: rows in other languages than the ones wanted."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from framework.build.clean import Batch, Reason, RowClean
from framework.build.clean.row_texts import Part, texts_of
from framework.build.data.shards import SourcedRow
from framework.core.errors import DataError

_CHARACTERS = 1000
"""What is judged of a longer text, to bound the time."""
_Code = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class Language(RowClean):
    """Keep training rows whose text is in one of the languages ``keep``, by py3langid (97 languages)."""

    seconds_per_row: ClassVar[float] = 6e-4

    keep: Annotated[tuple[_Code, ...], Field(min_length=1)] = ("en",)
    """ISO 639 codes, such as ``[en, zh]``."""
    on: Part = "answer"
    """The texts that are judged, together. A translation has its prompt in another language."""
    min_probability: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Least probability of the languages kept, together. 0: the most probable language must be one of them.
    0.5 to 0.9 also removes texts of mixed languages, and code."""
    min_characters: Annotated[int, Field(ge=1)] = 20
    """Characters from which a text is judged; a shorter one stays, since a guess would often be wrong."""

    def requires(self) -> Mapping[str, str]:
        """Return the package with the model."""
        return {"py3langid": "clean"}

    def opened(self, rows: Path, tokenizer: Any) -> Self:
        """Return itself, if the model knows the languages.

        Raises:
            DataError: it does not.
        """
        known = _identifier().labels
        if unknown := sorted({*self.keep} - {*known}):
            raise DataError(
                f"clean.language.keep: py3langid does not know '{unknown[0]}'; "
                f"it knows {', '.join(sorted(known))}"
            )
        return self

    def apply(self, batch: Batch) -> tuple[list[SourcedRow], list[Reason]]:
        """Remove rows in other languages."""
        kept, reasons = [], []
        for source in batch:
            text = "\n".join(texts_of(source.row, self.on))
            why = self._foreign(text) if len(text) >= self.min_characters else None
            if why is None:
                kept.append(source)
            else:
                reasons.append(Reason(source, "language", why))
        return kept, reasons

    def _foreign(self, text: str) -> str | None:
        """Return why *text* is in another language; None if it is in one of those kept."""
        ranked = _identifier().rank(text[:_CHARACTERS])
        language, probability = ranked[0]
        wanted = sum(share for code, share in ranked if code in self.keep)
        if language in self.keep and wanted >= self.min_probability:
            return None
        return f"{language} with probability {probability:.2f}; {', '.join(self.keep)} with {wanted:.2f}"


@cache
def _identifier() -> Any:
    """Return the model, loaded once in each process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
