"""What ``run --help`` prints.

Hydra would compose a config for it and copy its search path once for every option, which takes twice as
long as its own start; the folders say all that is to be said.
"""

import textwrap

from framework.config.composition import groups, options
from framework.config.recipes import GROUP

TEXT = """\
Gitune: from one YAML recipe to a tuned, checked and exported model, and to
the Kubernetes manifests that serve it.

Usage: run [verb] [+recipe=<name>] [group=<option>] [key=value] ...

Verbs
  (none)   build what is missing, render the manifests, show the numbers
  plan     show what would be built, what it takes and what would change
  render   render the manifests again from the release that lies there
  serve    serve the built release on this machine
  report   write a page and a text on what the recipe made, from what is built
  compare  the same on several recipes together: +recipe=a,b
  propose  bring the locks that a run left here to main, by pull requests
  status   compare Git with itself and with the cluster; object=<kind>/<name>
  diff     show what a recipe does otherwise than on the base branch
  promote  copy a release's lock forward: release=x from=dev to=staging
  rollback restore the last release that was fit: release=x environment=dev
  argocd   write what points Argo CD at this repository: environments/argocd/
  pin      write model=<option>'s commit and sha256 into its file
  changed  list the recipes that commits since base=<commit> changed, as JSON
  schema   print the JSON Schema that editors check recipes with

Examples
  run +recipe=quickstart
  run plan +recipe=quickstart tuning.rank=8
  run +recipe=quickstart name=mine data=files data.train=rows.jsonl

Recipes and options; a file in ./recipes or ./conf comes before these
{groups}

Flags
  -m, --multirun   one job for each of key=a,b or '+recipe=glob(*)'
  --cfg job        print the composed config instead of working
  -sc install=bash print what completes this command in bash (zsh and fish too)
  --hydra-help     Hydra's own flags
"""


def help_text() -> str:
    """Return the help with every group and option of this folder and of the framework."""
    lines = [f"{group}: {', '.join(options(group))}" for group in sorted([*groups(), GROUP])]
    wrapped = (textwrap.fill(line, 80, subsequent_indent="    ", break_on_hyphens=False) for line in lines)
    return TEXT.format(groups="\n".join(wrapped))
