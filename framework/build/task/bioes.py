"""Word tags in the BIOES scheme, and the spans that they encode.

B begins a span of several words, I continues it, E ends it, S is a span of one word, O is outside. A tag's
index depends only on its entity's index, so spans are decoded without names. It knows no tokens.
"""

from collections.abc import Sequence

OUTSIDE = "O"
_PREFIXES = "BIES"
_LAST = {"B": "S", "I": "E"}  # a BIO tag's new prefix where its span ends


def tag_names(entities: Sequence[str]) -> list[str]:
    """Return every tag, in the order of a model's outputs.

    >>> tag_names(["city"])
    ['O', 'B-city', 'I-city', 'E-city', 'S-city']
    """
    return [OUTSIDE, *(f"{prefix}-{entity}" for entity in entities for prefix in _PREFIXES)]


def spans(tags: Sequence[int]) -> set[tuple[int, int, int]]:
    """Return (first word, word after the last, entity) of every well-formed span, as strict evaluation does.

    A span is S, or B, any number of I, and E, all of one entity. Other sequences are no spans.

    >>> sorted(spans([1, 2, 3, 0, 4, 1, 7, 2, 3]))
    [(0, 3, 0), (4, 5, 0)]
    """
    decoded, start = set(), None
    for position, tag in enumerate(tags):
        entity, prefix = divmod(tag - 1, 4)
        kind = _PREFIXES[prefix] if tag else OUTSIDE
        if kind == "S":
            decoded.add((position, position + 1, entity))
        begun = start is not None and tags[start] == 4 * entity + 1
        if kind == "E" and begun and start is not None:
            decoded.add((start, position + 1, entity))
        if kind == "B":
            start = position
        elif not (kind == "I" and begun):
            start = None
    return decoded


def to_bioes(tags: Sequence[str]) -> list[str]:
    """Convert *tags* in BIO or BIOES to BIOES; tags are BIOES if any of them is E or S.

    >>> to_bioes(["B-city", "I-city", "O", "B-city"])
    ['B-city', 'E-city', 'O', 'S-city']

    Raises:
        ValueError: a tag is neither, or cannot follow the tag before it; the message counts from 1.
    """
    split = [_split(tag, position) for position, tag in enumerate(tags, 1)]
    bioes = any(prefix in "ES" for prefix, _ in split)
    begun = ""  # the entity of the open span
    for position, (prefix, entity) in enumerate(split, 1):
        if prefix in "IE" and begun != entity:
            raise ValueError(
                f"tag {position} is '{tags[position - 1]}', but no span of {entity} is open there"
            )
        if bioes and begun and prefix not in "IE":
            raise ValueError(
                f"tag {position} is '{tags[position - 1]}', but the span of {begun} has not ended"
            )
        begun = entity if prefix in "BI" else ""
    if bioes and begun:
        raise ValueError(f"tag {len(tags)} is '{tags[-1]}', but the span of {begun} has not ended")
    if bioes:
        return list(tags)
    continues = [*(prefix == "I" for prefix, _ in split[1:]), False]
    return [
        tag if more or tag == OUTSIDE else f"{_LAST[prefix]}-{entity}"
        for tag, more, (prefix, entity) in zip(tags, continues, split, strict=True)
    ]


def _split(tag: str, position: int) -> tuple[str, str]:
    prefix, _, entity = tag.partition("-")
    if tag != OUTSIDE and not (prefix in tuple(_PREFIXES) and entity):
        raise ValueError(f"tag {position} is '{tag}'; use O, or B-, I-, E- or S- with an entity")
    return prefix, entity
