# Each task is one line; the tools hold the logic. `just` alone lists them.
python := ".venv/bin/python"

# Create the virtual environment with every development tool. Without just: see CONTRIBUTING.md.
setup:
    python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[dev]'

# Format the code and fix what ruff can fix.
format:
    {{python}} -m ruff format . && {{python}} -m ruff check --fix .

# Check style, imports between layers and spelling.
lint:
    {{python}} -m ruff format --check . && {{python}} -m ruff check . && .venv/bin/lint-imports && .venv/bin/codespell

# Check types, in strict mode.
types:
    {{python}} -m mypy

# Run the fast tests; arguments go to pytest.
test *arguments:
    {{python}} -m pytest {{arguments}}

# Run the slow tests, a file per process: real models, whole trainings, forty minutes.
slow *arguments:
    OMP_NUM_THREADS=1 {{python}} -m pytest -n 2 --dist loadfile -m 'slow and not gpu' {{arguments}}

# Regenerate the golden files: manifests, stage versions, the JSON Schema.
golden:
    GITUNE_UPDATE_GOLDEN=1 {{python}} -m pytest tests/golden && .venv/bin/run schema > recipes/schema.json

# Validate every manifest: core kinds, custom resources, our own rules.
manifests:
    {{python}} tests/kubernetes_judge.py environments tests/golden

# Run everything that CI runs.
check: lint types manifests site test slow

# Plan every recipe, as CI does for a pull request.
plan:
    .venv/bin/run plan '+recipe=glob(**)'

# Render every lock again and compare with the committed manifests.
status:
    .venv/bin/run status check=true

# Render one recipe's manifests again from its lock.
render recipe:
    .venv/bin/run render +recipe={{recipe}}

# Run the benchmarks; each prints ratios measured in one run.
bench *names:
    {{python}} -m benchmarks {{names}}

# Regenerate the reference and the data formats, then build the site.
docs:
    {{python}} docs/reference.py && {{python}} docs/data_formats.py && .venv/bin/zensical build --clean --strict

# Build the site into site/; a broken link fails the build.
site:
    {{python}} docs/reference.py --check && {{python}} docs/data_formats.py --check && .venv/bin/zensical build --clean --strict
