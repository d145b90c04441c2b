"""The evidence of a release: the files that say what it is made of, how, and how good it is.

Pure: a release and its materials become text. ``framework.core.evidence`` says where it is kept.
"""

import json
from typing import Any

from framework.core.evidence import BILL, CARD, PROVENANCE
from framework.core.release import Release
from framework.report.bill import bill_of_materials
from framework.report.card import model_card
from framework.report.materials import Materials
from framework.report.statement import provenance


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


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
