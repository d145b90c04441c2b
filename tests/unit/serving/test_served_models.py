from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from framework.core.errors import ServeError
from framework.core.release import Release
from framework.serving.features import Features
from framework.serving.served_models import ServedModels

RELEASE = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")
TASKS = ("causal-lm", "sequence-classification", "text-embedding", "token-classification")
SAME_ROUTES = {"sequence-classification", "token-classification"}


@pytest.mark.parametrize(("old", "new"), [*product(TASKS, TASKS)])
def test_a_release_takes_the_place_of_one_with_the_same_routes(old: str, new: str) -> None:
    current = SimpleNamespace(current=SimpleNamespace(release=RELEASE.model_copy(update={"task": old})))
    release = RELEASE.model_copy(update={"task": new})
    if old == new or {old, new} == SAME_ROUTES:
        ServedModels._check(current, release, Features())
        return
    with pytest.raises(ServeError, match=new):
        ServedModels._check(current, release, Features())
