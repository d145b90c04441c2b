"""What is said of licenses, against the lists of SPDX and ScanCode that license-expression carries."""

import pytest
from license_expression import get_license_index

from framework.core.licenses import _SPDX, forbidden, spdx

SPDX = {
    name: entry
    for entry in get_license_index()
    for name in (entry["spdx_license_key"], *entry["other_spdx_license_keys"])
    if name and not name.startswith("LicenseRef-") and not entry["is_exception"]
}
"""ScanCode's entry of each identifier of SPDX."""
FREE = ("Permissive", "Copyleft", "Copyleft Limited", "Public Domain", "Unstated License")
OTHERWISE_RESTRICTED = {
    # Military use, harm, export, competing services, a company's size, a format: not what a release does.
    *("BSD-3-Clause-No-Military-License", "BSD-3-Clause-No-Nuclear-License", "Hippocratic-2.1", "CPOL-1.02"),
    *("BSD-3-Clause-No-Nuclear-License-2014", "BSD-3-Clause-No-Nuclear-Warranty", "C-UDA-1.0", "Caldera"),
    *("HPND-export-US", "HPND-export-US-acknowledgement", "HPND-UC-export-US", "SGI-B-1.0", "SUL-1.0"),
    *("Elastic-2.0", "FSL-1.1-ALv2", "FSL-1.1-MIT", "JPL-image", "SSPL-1.0", "PolyForm-Small-Business-1.0.0"),
    *("SOFA", "SISSL", "SISSL-1.2", "Watcom-1.0", "Unicode-TOU"),
}
"""Licenses that ScanCode does not count as free, each reviewed; a new one fails the test until it is."""


def test_known_identifiers_are_those_of_spdx() -> None:
    assert {*_SPDX.values()} <= {name for name, entry in SPDX.items() if not entry["is_deprecated"]}
    assert len(SPDX) > 600


def test_every_identifier_of_spdx_is_classed() -> None:
    restricted = {name for name, entry in SPDX.items() if entry["category"] not in FREE}
    assert restricted >= OTHERWISE_RESTRICTED
    assert {name for name in SPDX if forbidden(name)} == restricted - OTHERWISE_RESTRICTED


def test_terms_of_creative_commons_are_read_from_the_name() -> None:
    names = [name for name in SPDX if name.startswith("CC-BY")]
    assert len(names) > 50
    for name in names:
        reason = forbidden(name) or ""
        assert ("commercial use" in reason) == ("-NC" in name), name
        assert ("derivatives" in reason) == ("-ND" in name), name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("BUSL-1.1", "forbids use in production"),
        ("MNPL-0.1", "forbids use in production"),
        ("NCGL-UK-2.0", "forbids commercial use"),
        ("h-research", "allows research only"),
    ],
)
def test_name_that_says_nothing_is_known(name: str, reason: str) -> None:
    assert forbidden(name) == reason


def test_license_of_scancode_is_no_identifier_of_spdx() -> None:
    assert spdx("LicenseRef-scancode-gemma-tou-2024-04-01") is None
