"""The verbs that read a server's request log: ``framework.learning`` performs them."""

from framework.cli.verb import Verb, Word

DRIFT = Verb(
    "drift",
    "measure how far requests have moved, from rows or earlier ones",
    "Compares the newest requests of one release in a log (serving.request_log) with the rows of a "
    "recipe, with another log, or with the requests before: lengths and labels (PSI), mean lengths, "
    "new words, bad answers in a row. json=<file> is what promotion.verify reads.",
    (
        "run drift +recipe=quickstart log=requests check=true",
        "run drift log=s3://bucket/requests days=1 json=drift.json",
    ),
    (
        Word("log", "the log: a folder, or a URL that fsspec opens"),
        Word("reference", "another log to compare with; empty is the recipe, or what was before", ""),
        Word("digest", "the release to look at, by its first digits; empty is the newest", ""),
        Word("days", "how far back the current requests go", "7"),
        Word("psi", "highest population stability index", "0.2"),
        Word("sigmas", "highest distance of a mean length, in standard deviations", "2"),
        Word("unseen", "highest share of new words", "0.2"),
        Word("bad_in_a_row", "bad answers in a row that are too many", "10"),
        Word("check", "true exits with 1 if anything is above its bound", "false"),
        Word("json", "the file to write the numbers to", ""),
    ),
)

COMPARE_LIVE = Verb(
    "compare-live",
    "compare two releases that serve, and say when to stop",
    "Compares two releases in logs of an A/B test or a shadow by ratings, completed calls, bad answers "
    "and seconds: with an interval for one look, and one that holds however often you look.",
    (
        "run compare-live log=requests",
        "run compare-live log=stable other=shadow a=fe2f2a69 b=0c1d9e44",
    ),
    (
        Word("log", "the log: a folder, or a URL that fsspec opens"),
        Word("other", "a second log, where the releases have one each", ""),
        Word("a", "the digest of the first release, or its first digits; empty is the older one", ""),
        Word("b", "the digest of the second", ""),
        Word("alpha", "probability of a wrong verdict, all metrics and looks together", "0.05"),
        Word("json", "the file to write the numbers to", ""),
    ),
    composes=False,
)
