"""Tags of words, and the spans that they stand for, in the scheme BIOES.

B begins a span of several words, I is inside, E ends it, S is a span of one word, O is none. The index of
a tag is fixed by its entity's place, so that spans are found without names. It knows no tokens.
"""

from collections.abc import Sequence

OUTSIDE = "O"
_PREFIXES = "BIES"
_LAST = {"B": "S", "I": "E"}  # what BIO's tag becomes where its span ends


def tag_names(entities: Sequence[str]) -> list[str]:
    """Return every tag, in the order of a model's outputs.

    >>> tag_names(["city"])
    ['O', 'B-city', 'I-city', 'E-city', 'S-city']
    """
    return [OUTSIDE, *(f"{prefix}-{entity}" for entity in entities for prefix in _PREFIXES)]


def spans(tags: Sequence[int]) -> set[tuple[int, int, int]]:
    """Return (first word, word after the last, entity) of every well-formed span; the strict reading.

    A span is S, or B, any number of I, and E, all of one entity; whatever else is no span.

    >>> sorted(spans([1, 2, 3, 0, 4, 1, 7, 2, 3]))
    [(0, 3, 0), (4, 5, 0)]
    """
    found, start = set(), None
    for place, tag in enumerate(tags):
        entity, prefix = divmod(tag - 1, 4)
        kind = _PREFIXES[prefix] if tag else OUTSIDE
        if kind == "S":
            found.add((place, place + 1, entity))
        begun = start is not None and tags[start] == 4 * entity + 1
        if kind == "E" and begun and start is not None:
            found.add((start, place + 1, entity))
        if kind == "B":
            start = place
        elif not (kind == "I" and begun):
            start = None
    return found


def to_bioes(tags: Sequence[str]) -> list[str]:
    """Return *tags*, which are BIO or BIOES, as BIOES; tags with E or S in them are taken for the latter.

    >>> to_bioes(["B-city", "I-city", "O", "B-city"])
    ['B-city', 'E-city', 'O', 'S-city']

    Raises:
        ValueError: a tag is neither, or stands where it cannot; says which, and counts from 1.
    """
    parts = [_parts(tag, place) for place, tag in enumerate(tags, 1)]
    whole = any(prefix in "ES" for prefix, _ in parts)
    begun = ""  # the entity of the span that is open
    for place, (prefix, entity) in enumerate(parts, 1):
        if prefix in "IE" and begun != entity:
            raise ValueError(f"tag {place} is '{tags[place - 1]}', but no span of {entity} is open there")
        if whole and begun and prefix not in "IE":
            raise ValueError(f"tag {place} is '{tags[place - 1]}', but the span of {begun} has no end yet")
        begun = entity if prefix in "BI" else ""
    if whole and begun:
        raise ValueError(f"tag {len(tags)} is '{tags[-1]}', but the span of {begun} has no end")
    if whole:
        return list(tags)
    goes_on = [*(prefix == "I" for prefix, _ in parts[1:]), False]
    return [
        tag if more or tag == OUTSIDE else f"{_LAST[prefix]}-{entity}"
        for tag, more, (prefix, entity) in zip(tags, goes_on, parts, strict=True)
    ]


def _parts(tag: str, place: int) -> tuple[str, str]:
    prefix, _, entity = tag.partition("-")
    if tag != OUTSIDE and not (prefix in tuple(_PREFIXES) and entity):
        raise ValueError(f"tag {place} is '{tag}'; tags are O and B-, I-, E- or S- with an entity")
    return prefix, entity
