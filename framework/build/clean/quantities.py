"""Numbers with their units in English text, and whether one says the same as another.

Every pattern takes time linear in the text: repetitions are bounded.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_SAME = {  # each line: a kind, and its units with the factor to the first
    "length": "m=1 meter=1 metre=1 mm=.001 cm=.01 km=1000 kilometer=1000 kilometre=1000 centimeter=.01 "
    "centimetre=.01 millimeter=.001 millimetre=.001 mile=1609.344 mi=1609.344 foot=.3048 feet=.3048 ft=.3048 "
    "yard=.9144 inch=.0254 inches=.0254",
    "mass": "kg=1 kilogram=1 g=.001 gram=.001 mg=.000001 milligram=.000001 tonne=1000 lb=.45359237 "
    "lbs=.45359237 oz=.028349523 ounce=.028349523",
    "time": "second=1 minute=60 min=60 hour=3600 h=3600 day=86400 week=604800 ms=.001",
    "months": "month=1 year=12 decade=120",
    "share": "%=1 percent=1",
    "dollar": "$=1 dollar=1 USD=1",
    "euro": "€=1 euro=1 EUR=1",
    "sterling": "£=1 GBP=1",
    "yen": "¥=1 yen=1 JPY=1",
    "yuan": "yuan=1 RMB=1 CNY=1",
    "area": "m²=1 km²=1000000 hectare=10000 ha=10000 acre=4046.8564224",
    "volume": "liter=1 litre=1 L=1 ml=.001 mL=.001",
    "celsius": "°C=1",
    "fahrenheit": "°F=1",
    "speed": "km/h=1 mph=1.609344",
    "power": "W=1 watt=1 kW=1000 kilowatt=1000 MW=1000000 megawatt=1000000 GW=1000000000 gigawatt=1000000000",
    "energy": "kWh=1 MWh=1000 GWh=1000000",
    "bytes": "KB=1 MB=1000 GB=1000000 TB=1000000000",
    "frequency": "Hz=1 kHz=1000 MHz=1000000 GHz=1000000000",
}
_UNITS = {
    name: (kind, float(factor))
    for kind, units in _SAME.items()
    for name, factor in (unit.rsplit("=", 1) for unit in units.split())
}
_UNITS |= {f"{name}s": unit for name, unit in _UNITS.items() if len(name) > 3 and name.isalpha()}
_PHRASES = (
    (r"per\s?cent(?:age points)?\b", "percent"),
    (r"(?:square|sq\.?) (?:kilomet(?:er|re)s?|km)\b", "km²"),
)
_PHRASE = tuple((re.compile(pattern, re.IGNORECASE), name) for pattern, name in _PHRASES)
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_SUFFIXES = {"k": 1e3, "K": 1e3, "M": 1e6, "bn": 1e9, "B": 1e9}
_NUMBER = re.compile(
    r"(?<![\w.,/:])(?<![A-Za-z]-)(?P<sign>(?<![^\s(])[-−])?"  # noqa: RUF001
    r"(?P<money>[$€£¥])?\s?(?P<whole>\d{1,3}(?:,\d{3}){1,6}|\d{1,18})(?P<part>\.\d{1,12})?(?!\d|[,.:/]\d)"
    rf"(?:\s?(?P<scale>{'|'.join(_SCALES)})\b|(?P<suffix>bn|[kKMB])(?![\w²/])|(?P<millions>m)(?!\w))?"
    rf"(?:[\s-]?(?P<unit>{'|'.join(sorted(map(re.escape, _UNITS), key=len, reverse=True))})(?![\w²/]))?"
    r"(?P<rest>(?:st|nd|rd|th|s)?(?!\w))?"
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ONES = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_VALUES = dict(zip(_ONES, range(1, 20), strict=True)) | dict(zip(_TENS, range(20, 100, 10), strict=True))
_WORD = re.compile(
    # The look-ahead spares most words the comparison with all numbers.
    rf"\b(?=[efnost][a-z]{{2}})(?:({'|'.join(_TENS)})[ -])?({'|'.join(_VALUES)})\b(?![ -]hundred)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Quantity:
    """A number of a text."""

    text: str
    """As it is written, with its unit."""
    value: float
    step: float
    """The unit of its last digit: it stands for every value within half of it."""
    kind: str | None = None
    """What its unit measures; None where none is known."""
    factor: float = 1.0
    """Of its unit, to the first of its kind."""

    @property
    def counts(self) -> bool:
        """Whether it is a whole number without a known unit, as in counting."""
        return self.kind is None and self.value.is_integer() and self.step <= 1


def quantities(text: str) -> Iterator[Quantity]:
    """Yield the numbers of *text* that are written in digits; those inside of names are left out."""
    for pattern, unit in _PHRASE:
        text = pattern.sub(unit, text)
    for match in _NUMBER.finditer(text):
        end = match.end()
        if end < len(text) and (text[end].isalnum() or text[end] == "_"):  # 4x, 1080p: a name
            continue
        scale, suffix = match["scale"], match["suffix"]
        factor = _SCALES[scale] if scale else _SUFFIXES[suffix] if suffix else 1.0
        unit = match["unit"] or match["money"]
        if match["millions"]:
            factor, unit = (1e6, unit) if match["money"] else (1.0, "m")
        value = float(match["whole"].replace(",", "") + (match["part"] or "")) * factor
        step = 10.0 ** -len((match["part"] or ".")[1:]) * factor
        kind, unit_factor = _UNITS[unit] if unit else (None, 1.0)
        yield Quantity(match[0].strip(), -value if match["sign"] else value, step, kind, unit_factor)


def in_digits(text: str) -> str:
    """Return *text* with its numbers below a hundred in digits.

    >>> in_digits("Twelve of twenty-one million")
    '12 of 21 million'
    """
    return _WORD.sub(lambda match: str(sum(_VALUES[word.lower()] for word in match.groups() if word)), text)


class Quantities:
    """The numbers of some sources, sorted to look others up."""

    def __init__(self, numbers: Iterable[Quantity]) -> None:
        """Take *numbers*."""
        numbers = [*numbers]
        every = sorted({(number.value, number.text) for number in numbers})
        self._values = [value for value, _ in every]
        self._texts = [text for _, text in every]
        self._by_kind: dict[str | None, list[float]] = {}
        for number in numbers:
            self._by_kind.setdefault(number.kind, []).append(number.value * number.factor)
        for values in self._by_kind.values():
            values.sort()

    def say(self, number: Quantity) -> bool:
        """Tell whether one of them, rounded as *number* is, is equal; without a unit, to any unit."""
        if number.kind is None:
            return self.same_number(number) is not None
        measured = self._by_kind.get(number.kind, [])
        if _near(measured, number.value * number.factor, number.step * number.factor) is not None:
            return True
        return _near(self._by_kind.get(None, []), number.value, number.step) is not None

    def same_number(self, number: Quantity) -> str | None:
        """Return the text of one that has the same number, whatever the unit."""
        place = _near(self._values, number.value, number.step)
        return None if place is None else self._texts[place]


def _near(values: list[float], value: float, step: float) -> int | None:
    """Return the place of one of the sorted *values* that is within half a *step* of *value*."""
    reach = step / 2 * (1 + 1e-9)
    place = bisect_left(values, value - reach)
    return place if place < len(values) and values[place] <= value + reach else None
