"""VADER's ground truth: sentences of four domains, each rated for sentiment by twenty people.

C.J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text", ICWSM 2014. This module turns scores into labels and makes two splits; it knows no tokens.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from framework.build.data import Data, Line, Split
from framework.core.errors import DataError
from framework.core.source import Source

ARCHIVE = "pypi://vaderSentiment==3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
SUFFIX = "_GroundTruth.txt"


class Vader(Data):
    """Tweets, film reviews, product reviews and editorials as ``positive``, ``neutral``, ``negative``."""

    source: Source = Source(url=ARCHIVE)
    """The tar file whose ``*_GroundTruth.txt`` members have tab-separated id, mean score (-4 to 4), text."""
    positive_threshold: Annotated[float, Field(gt=0, le=4)] = 0.5
    """Minimum mean score of a positive sentence."""
    negative_threshold: Annotated[float, Field(ge=-4, lt=0)] = -0.5
    """Maximum mean score of a negative sentence."""
    test_rows: Annotated[int, Field(gt=0)] = 1000
    """Distinct sentences to hold out, chosen by a hash of the text and so from all four domains."""

    def read(self, split: Split) -> Iterator[Line]:
        """Yield the split's sentences in the order of a hash of their text: shuffled, always the same.

        Repeated sentences, whatever their score, and lines that cannot be read come after the training
        rows, with their ``problem``. So no text is in both splits.

        Raises:
            SourceError: the archive cannot be fetched.
            DataError: the archive is damaged, has no ground truth, or too few texts for ``test_rows``.
        """
        first: dict[str, Line] = {}
        problems = []
        for line in self._lines():
            if line.problem is not None:
                problems.append(line)
            elif seen := first.get(line.raw["text"]):
                problem = f"same text as {seen.file}:{seen.number}"
                problems.append(Line(line.file, line.number, line.raw, problem))
            else:
                first[line.raw["text"]] = line
        if len(first) <= self.test_rows:
            raise DataError(
                f"{self.source.url}: {len(first)} distinct texts leave none to train on; "
                f"set data.test_rows below that (now {self.test_rows})"
            )
        shuffled = [first[text] for text in sorted(first, key=_digest)]
        if split == "test":
            yield from shuffled[: self.test_rows]
        else:
            yield from shuffled[self.test_rows :]
            yield from problems

    def _lines(self) -> Iterator[Line]:
        archive = self.source.url.rpartition("/")[2]
        try:
            with tarfile.open(self.source.fetch()) as tar:
                members = [m for m in tar.getmembers() if m.isfile() and m.name.endswith(SUFFIX)]
                for member in sorted(members, key=lambda member: member.name):
                    stream = tar.extractfile(member)
                    for number, content in enumerate(stream or (), 1):
                        yield self._line(f"{archive}/{member.name}", number, content)
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise DataError(f"{self.source.url}: not a complete tar file ({error}); fetch it again") from None
        if not members:
            raise DataError(
                f"{self.source.url}: no member ends in {SUFFIX}; set data.source to VADER's archive"
            )

    def _line(self, file: str, number: int, content: bytes) -> Line:
        try:
            _, score, text = content.decode().rstrip("\r\n").split("\t")
            mean = float(score)
        except ValueError as error:  # UnicodeDecodeError is one too
            return Line(file, number, None, f"not tab-separated id, score and text: {error}")
        if not -4 <= mean <= 4:
            return Line(file, number, None, f"the score {score} is not between -4 and 4")
        return Line(file, number, {"text": text, "label": self._label(mean)})

    def _label(self, mean: float) -> str:
        if mean >= self.positive_threshold:
            return "positive"
        return "negative" if mean <= self.negative_threshold else "neutral"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
