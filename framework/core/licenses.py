"""What names of licenses mean: which are SPDX identifiers, and which forbid what a recipe does.

It knows the names that weights and data sets commonly have, and reads no license text. A license that it does
not know forbids nothing here: who publishes has to read it. A test walks SPDX's whole list.
"""

import re

_SPDX = {
    name.lower(): name
    for name in (
        *("0BSD", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"),
        *("AGPL-3.0-only", "AGPL-3.0-or-later", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only"),
        *("GPL-3.0-or-later", "LGPL-2.1-only", "LGPL-3.0-only", "LGPL-3.0-or-later", "MPL-2.0", "EUPL-1.2"),
        *("ISC", "MIT", "MIT-0", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0", "PostgreSQL", "Unlicense", "Zlib"),
        *("CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0", "OGL-UK-3.0", "MS-PL"),
        *(
            f"CC-{terms}-{version}"
            for terms in ("BY", "BY-SA", "BY-NC", "BY-NC-SA", "BY-ND", "BY-NC-ND")
            for version in ("1.0", "2.0", "2.5", "3.0", "4.0")
        ),
    )
}
_HUB = frozenset(
    (
        *("apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m"),
        *("bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause"),
        *("bsd-3-clause", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0"),
        *("cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0"),
        *("cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0"),
        *("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0"),
        *("cdla-permissive-2.0", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2"),
        *("agpl-3.0", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "ms-pl"),
        *("mpl-2.0", "odbl", "odc-by", "openrail++", "osl-3.0", "postgresql", "unlicense", "zlib"),
        *("pddl", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma", "apple-amlr"),
        *(
            "apple-ascl",
            "bigscience-bloom-rail-1.0",
            "bsd-3-clause-clear",
            "etalab-2.0",
            "gfdl",
            "h-research",
        ),
        *("fair-noncommercial-research-license", "intel-research", "lgpl-lr", "lppl-1.3c", "ncsa", "ofl-1.1"),
        *("open-mdw", "wtfpl"),
        *("deepfloyd-if-license"),
    )
)
"""What the Hugging Face Hub accepts as ``license``."""
_RESEARCH = frozenset(
    (
        *(
            "apple-amlr",
            "deepfloyd-if-license",
            "exaone",
            "h-research",
            "intel-research",
            "llama",
            "llama1",
            "mrl",
            "opt-175b",
        ),
        *("fair-noncommercial-research-license", "intel-research-use-license", "mistral-ai-research-license"),
        *(
            "mistral-ai-research-licence",
            "mistral-research-license",
            "qwen-research",
            "qwen-research-license",
        ),
        *("qwen-research-license-agreement", "tongyi-qianwen-research"),
    )
)
_NON_COMMERCIAL = frozenset(
    (
        *("coqui-public-model-license", "cpml", "nvidia-source-code-license-nc"),
        *("stable-video-diffusion-nc-community", "stabilityai-nc-research-community", "ncgl-uk-2.0"),
        # Solely for education, research, development, benchmarks and demonstrations.
        *("aswf-digital-assets-1.0", "aswf-digital-assets-1.1"),
    )
)
_NON_PRODUCTION = frozenset(("busl-1.1", "mnpl", "mnpl-0.1"))
_UNKNOWN = ("", "unknown", "none", "noassertion")


def spdx(name: str) -> str | None:
    """Return the SPDX identifier that *name* is, as SPDX spells it; None if it is none that is known here.

    >>> spdx("apache-2.0"), spdx("llama3.1")
    ('Apache-2.0', None)
    """
    return _SPDX.get(name.strip().lower())


def hub_identifier(name: str) -> str | None:
    """Return what the Hugging Face Hub calls the license *name*; None if its list does not have it.

    >>> hub_identifier("Apache-2.0"), hub_identifier("GPL-3.0-only"), hub_identifier("acme")
    ('apache-2.0', 'gpl-3.0', None)
    """
    short = name.strip().lower().removesuffix("-only").removesuffix("-or-later")
    return short if short in _HUB else None


def plain(name: str) -> str:
    """Return *name* as it is compared and typed: without spaces and case.

    >>> plain("FAIR Noncommercial Research License"), plain("CC-BY-NC-4.0")
    ('fair-noncommercial-research-license', 'cc-by-nc-4.0')
    """
    return re.sub(r"[^a-z0-9.+]+", "-", name.lower()).strip("-")


def forbidden(name: str) -> str | None:
    """Return what the license *name* forbids, after "it"; None if it is not known to forbid a use.

    >>> forbidden("CC-BY-NC-ND-4.0"), forbidden("apple-amlr"), forbidden("llama3.1")
    ('forbids commercial use and derivatives', 'allows research only', None)
    """
    short = plain(name)
    words, letters = short.split("-"), re.sub(r"[^a-z]", "", short)
    if short in _RESEARCH or {"research", "only"} <= {*words}:
        return "allows research only"
    common = words[0] == "cc"
    terms = {
        "commercial use": (common and "nc" in words)
        or short in _NON_COMMERCIAL
        or "noncommercial" in letters,
        "use in production": short in _NON_PRODUCTION or "nonproduction" in letters,
        "derivatives": (common and "nd" in words) or "noderiv" in letters,
    }
    found = [term for term, holds in terms.items() if holds]
    return f"forbids {' and '.join(found)}" if found else None


def is_unknown(name: str | None) -> bool:
    """Return whether *name* says nothing, as many cards do."""
    return name is None or re.sub(r"[^a-z]", "", name.lower()) in _UNKNOWN
