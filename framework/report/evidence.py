"""The evidence of a release: the files that say what it is made of, how, and how good it is.

Pure: a release and its materials become text. ``framework.core.evidence`` says where it is kept.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from framework.core.evidence import BILL, CARD, PROVENANCE
from framework.core.release import Release
from framework.report.bill import bill_contradiction, bill_of_materials
from framework.report.card import card_contradiction, model_card
from framework.report.materials import Materials
from framework.report.statement import provenance, statement_contradiction


def evidence(release: Release, materials: Materials, builder: str | None = None) -> dict[str, str]:
    """Return the content of each file by its name.

    Args:
        release: as its lock states it.
        materials: what it is made of.
        builder: the URI of the workflow that released; None if no service vouches for it.
    """
    return {
        BILL: _json(bill_of_materials(release, materials)),
        PROVENANCE: _json(provenance(release, materials, builder)),
        CARD: model_card(release, materials),
    }


def contradictions(release: Release, files: Mapping[str, bytes]) -> dict[str, str]:
    """Return where evidence says other things than the lock of *release*.

    Args:
        release: as its lock states it.
        files: the content of each file by its name, as ``evidence`` returns them.

    Returns:
        The parts that differ, by file; those that agree are left out.
    """
    checks: dict[str, Callable[[Any, Release], str]] = {
        BILL: bill_contradiction,
        PROVENANCE: statement_contradiction,
        CARD: card_contradiction,
    }
    found = {}
    for name, content in files.items():
        try:
            text = content.decode()
            found[name] = checks[name](text if name == CARD else json.loads(text), release)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            found[name] = f"it cannot be read ({error!r})"
    return {name: difference for name, difference in found.items() if difference}


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
