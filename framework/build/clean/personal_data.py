"""Find personal data and credentials in text by their form and their check digits.

Every pattern takes time linear in the text: repetitions are bounded, and a match may not begin inside a run
of its own characters. Names and addresses have no form and are not found.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date
from ipaddress import ip_address
from typing import Literal, NamedTuple

Kind = Literal["secret", "email", "iban", "cn_id", "card", "ssn", "phone", "ip"]


class Found(NamedTuple):
    """One piece of personal data in a text."""

    start: int
    end: int
    kind: Kind


_TOKEN = "A-Za-z0-9_-"
_SECRET = re.compile(
    rf"(?<![{_TOKEN}])(?:(?:AKIA|ASIA)[A-Z0-9]{{16}}|gh[pousr]_[A-Za-z0-9]{{36,255}}|github_pat_\w{{22,255}}"
    rf"|glpat-[{_TOKEN}]{{20,64}}|xox[abposr]-[A-Za-z0-9-]{{10,250}}|AIza[{_TOKEN}]{{35}}"
    rf"|sk-[{_TOKEN}]{{20,200}}|[rs]k_(?:live|test)_[A-Za-z0-9]{{16,99}}|hf_[A-Za-z0-9]{{30,40}}"
    rf"|npm_[A-Za-z0-9]{{36}}|eyJ[{_TOKEN}]{{8,2000}}\.eyJ[{_TOKEN}]{{8,4000}}\.[{_TOKEN}]{{8,1000}})"
    rf"(?![{_TOKEN}])|-----BEGIN (?:[A-Z]{{1,12}} ){{0,3}}PRIVATE KEY-----[^-]{{16,8000}}"
    r"-----END (?:[A-Z]{1,12} ){0,3}PRIVATE KEY-----",
    re.ASCII,
)
_SECRET_PREFIXES = (
    *("AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "AIza", "sk-"),
    *("sk_", "rk_", "hf_", "npm_", "eyJ", "-----BEGIN "),
)
_MANY_DIGITS = re.compile(r"\d(?:[ .()-]{0,3}\d){6}", re.ASCII)
"""Seven digits, which every number that is looked for has."""
_DOTTED = re.compile(r"\d\.\d{1,3}\.\d", re.ASCII)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}", re.ASCII)
_CARD = re.compile(r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-])", re.ASCII)
_CN_ID = re.compile(r"(?<![A-Za-z0-9])[1-9]\d{16}[\dXx](?![A-Za-z0-9])", re.ASCII)
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])", re.ASCII)
_PHONE = re.compile(
    r"(?<![\w+])\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}(?!\d)"  # international
    r"|(?<![\w.-])1[3-9]\d(?:[ -]?\d{4}){2}(?![\w-])"  # Chinese mobile
    r"|(?<![\w.-])0\d{2,3}-\d{7,8}(?![\w-])"  # Chinese fixed line
    r"|(?<![\w.-])(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[.-]\d{4}(?![\w-])",  # North American
    re.ASCII,
)
_IP = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)|(?<![\w:.])[0-9A-Fa-f:]{6,39}(?![\w:])", re.ASCII
)
# fmt: off
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24,
    "DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25,
    "RO": 24, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29,
}
# fmt: on
_CARD_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (6, 13)}
_CARD_LENGTHS = {"2": (16,), "3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 19)}
_CN_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def find(text: str, kinds: tuple[Kind, ...]) -> list[Found]:
    """Return what is found of *kinds*, in order and without overlaps; an earlier kind of ``Kind`` wins."""
    taken: list[Found] = []
    numbered = _MANY_DIGITS.search(text) is not None
    for kind, (pattern, check) in _RULES.items():
        if kind not in kinds or not _may_have(kind, text, numbered):
            continue
        for match in pattern.finditer(text):
            length = check(match[0])
            found = Found(match.start(), match.start() + length, kind)
            if length and all(found.end <= other.start or found.start >= other.end for other in taken):
                taken.append(found)
    return sorted(taken)


def _may_have(kind: Kind, text: str, numbered: bool) -> bool:
    """Return whether a cheap test allows *kind* in *text*; most texts have none."""
    if kind == "secret":
        return any(prefix in text for prefix in _SECRET_PREFIXES)
    if kind == "email":
        return "@" in text
    if kind == "ip":
        return text.count(":") > 1 or _DOTTED.search(text) is not None
    return numbered


def _whole(text: str) -> int:
    return len(text)


def _iban(text: str) -> int:
    """Return the length of the IBAN at the start of *text*: its country's, with the checksum of ISO 7064."""
    length = _IBAN_LENGTHS.get(text[:2], 0)
    ends = [number for number, sign in enumerate(text, 1) if sign != " "]
    if not 0 < length <= len(ends):
        return 0
    end = ends[length - 1]
    if text[end : end + 1].isalnum():
        return 0
    number = text[:end].replace(" ", "")
    value = int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4]))
    return end if value % 97 == 1 else 0


def _card(text: str) -> int:
    """Return the length of a card number: printed groups, the brand's length, Luhn's checksum."""
    groups = tuple(map(len, re.split("[ -]", text)))
    digits = [int(sign) for sign in text if sign.isdigit()]
    if len(groups) > 1 and groups not in _CARD_GROUPS:
        return 0
    if len(digits) not in _CARD_LENGTHS.get(text[0], ()) or len({*digits}) < 3:
        return 0
    backwards = enumerate(reversed(digits))
    total = sum(sum(divmod(2 * digit, 10)) if odd % 2 else digit for odd, digit in backwards)
    return len(text) if total % 10 == 0 else 0


def _cn_id(text: str) -> int:
    """Return the length of a Chinese identity number: a date of birth, and the checksum of GB 11643."""
    try:
        born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return 0
    remainder = sum(int(digit) * weight for digit, weight in zip(text, _CN_WEIGHTS, strict=False)) % 11
    return len(text) if 1900 <= born.year < 2100 and "10X98765432"[remainder] == text[-1].upper() else 0


def _phone(text: str) -> int:
    digits = sum(map(str.isdigit, text))
    return len(text) if 7 <= digits <= 15 and not (text[0] == "+" and digits < 9) else 0


def _ip(text: str) -> int:
    """Return the length of a public address; private ones and loopback say nothing about a person."""
    try:
        return len(text) if ip_address(text).is_global else 0
    except ValueError:
        return 0


_RULES: dict[Kind, tuple[re.Pattern[str], Callable[[str], int]]] = {
    "secret": (_SECRET, _whole),
    "email": (_EMAIL, _whole),
    "iban": (_IBAN, _iban),
    "cn_id": (_CN_ID, _cn_id),
    "card": (_CARD, _card),
    "ssn": (_SSN, _whole),
    "phone": (_PHONE, _phone),
    "ip": (_IP, _ip),
}
"""Pattern and check by kind; the check returns how many characters of a match count, 0 if none."""


def replaced(text: str, found: list[Found], name: Callable[[Found, str], str]) -> str:
    """Return *text* with every piece of *found* replaced by what *name* returns for it and its text."""
    return "".join(_pieces(text, found, name))


def _pieces(text: str, found: list[Found], name: Callable[[Found, str], str]) -> Iterator[str]:
    end = 0
    for piece in found:
        yield text[end : piece.start]
        yield name(piece, text[piece.start : piece.end])
        end = piece.end
    yield text[end:]
