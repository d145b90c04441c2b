# Every task is one line; the logic is in the tools. `just` lists them.
python := ".venv/bin/python"

# A virtual environment with everything that development needs.
setup:
    python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[dev]'

# Write the code's layout.
format:
    {{python}} -m ruff format . && {{python}} -m ruff check --fix .

# Style, imports and dead names.
lint:
    {{python}} -m ruff format --check . && {{python}} -m ruff check . && .venv/bin/lint-imports

# Types, strictly.
types:
    {{python}} -m mypy

# The fast tests.
test *arguments:
    {{python}} -m pytest {{arguments}}

# Write the golden files again: manifests, versions and the recipes' schema.
golden:
    GITUNE_UPDATE_GOLDEN=1 {{python}} -m pytest tests/golden && .venv/bin/run schema > recipes/schema.json

# All that must pass before a merge.
check: lint types test

# Every recipe, as a pull request plans them.
plan:
    .venv/bin/run plan '+recipe=glob(**)'

# Every lock, rendered again and compared with what is committed.
status:
    .venv/bin/run status check=true

# Render a recipe's manifests from its lock again.
render recipe:
    .venv/bin/run render +recipe={{recipe}}

# The benchmarks, each a ratio in one run.
bench *names:
    {{python}} -m benchmarks {{names}}

# The reference of all options, from the code.
docs:
    {{python}} docs/reference.py
