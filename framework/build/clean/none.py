"""``clean=none``: rows are used as they were read."""

from typing import ClassVar

from framework.build.clean import Clean


class NoCleaning(Clean):
    """No cleaning."""

    changes_nothing: ClassVar[bool] = True
