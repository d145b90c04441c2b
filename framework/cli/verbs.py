"""Every verb of the command line, with its words and examples: the source of help and completion.

It imports no library, so that help stays fast. A test compares the words with what each verb reads.
"""

from framework.cli.log_verbs import COMPARE_LIVE, DRIFT
from framework.cli.verb import Verb, Word

_BASE = Word("base", "the branch to commit on; empty is the one that Argo CD follows", "")
_ENVIRONMENTS = Word("environments", "the folder of locks and manifests", "environments")
_KEY = Word("key", "the private key that signs; empty is the one in GITUNE_SIGNING_KEY, or CI's identity", "")
_SKIP = Word("skip", "the reason to skip the environment before, its soak time and its metrics", "")
_SOURCE = Word(
    "source",
    "committed refuses a release that no commit alone gives, any proposes it and says so",
    "committed",
)
_PUSH = "branch opens a pull request, direct pushes to the base branch"

VERBS = (
    Verb(
        "plan",
        "show what would be built, what it takes and what would change",
        "Prints every step: cached, or why it runs, with time and memory; then the manifest diff. Writes "
        "nothing. Exits with 2 if the plan cannot run. glob(**) plans every recipe below ./recipes, or the "
        "built-in ones if there is none.",
        ("run plan +recipe=quickstart tuning.rank=8", "run plan 'recipe=glob(**)'"),
    ),
    Verb(
        "extras",
        "print the extras that building takes, as one line for pip",
        "Prints their names, installed or not, such as openvino,track, and an empty line if there are none. "
        "Planning and rendering need no extra.",
        ("run extras +recipe=quickstart,sentiment", "run extras '+recipe=glob(**)' launcher=trainjob"),
    ),
    Verb(
        "render",
        "render the manifests again from the release lock",
        "Writes environments/<environment>/<release>/ from the lock in it. Builds nothing.",
        ("run render +recipe=quickstart", "run render +recipe=quickstart environment=staging"),
    ),
    Verb(
        "serve",
        "serve the built release on this machine",
        "Answers OpenAI's API on serving.port until Ctrl-C. Needs the extra gitune[serve].",
        ("run serve +recipe=quickstart", "run serve +recipe=quickstart serving.port=9000"),
    ),
    Verb(
        "report",
        "write a page and a text about one built recipe",
        "Writes an HTML page and a Markdown text to the folder of the key reports: data, quality, speed and "
        "size, from finished artifacts. Builds nothing.",
        ("run report +recipe=quickstart", "run report +recipe=quickstart reports=out"),
    ),
    Verb(
        "compare",
        "write one report about several built recipes or a sweep",
        "Takes several recipes (+recipe=a,b), a file that lists recipes, or several values of a key.",
        ("run compare +recipe=quickstart,sentiment", "run compare +recipe=quickstart tuning.rank=4,16"),
    ),
    DRIFT,
    COMPARE_LIVE,
    Verb(
        "propose",
        "open a pull request for each new release lock in this folder",
        "Commits each uncommitted lock with its manifests on a branch of its own and pushes it. The working "
        "folder stays as it is. Refuses a release with overrides, or from a tree with changes: its commit's "
        "recipe does not give it.",
        ("run propose", "run propose push=direct base=main"),
        (
            Word("push", _PUSH, "branch"),
            _BASE,
            _SOURCE,
            _ENVIRONMENTS,
            _SKIP,
            _KEY,
            Word("release", "only this release, also if its lock is committed but not signed yet", ""),
            Word("environment", "only locks of this environment", ""),
            Word("reports", "the folder of reports, which become the pull request's text", ".gitune/reports"),
        ),
        composes=False,
    ),
    Verb(
        "promote",
        "copy a release to the next environment, as one commit",
        "Copies the lock, renders it there and commits both. Refuses a release whose recorded metrics miss "
        "the environment's gates, that its commit's recipe does not give, or that does not come from the "
        "environment before.",
        (
            "run promote release=support from=dev to=staging",
            "run promote release=support from=staging to=production push=direct",
        ),
        (
            Word("release", "the release's name"),
            Word("from", "the environment that has it"),
            Word("to", "the environment that gets it"),
            Word("push", _PUSH, "branch"),
            _BASE,
            _SOURCE,
            _ENVIRONMENTS,
            _SKIP,
            _KEY,
        ),
        composes=False,
    ),
    Verb(
        "rollback",
        "restore the release that ran before, as one commit",
        "Finds the last release of this environment that was not rolled back, and restores its lock and the "
        "manifests that it ran with; where those cannot be restored, it renders them and says why.",
        (
            "run rollback release=support environment=production",
            "run rollback release=support environment=production to=fe2f2a6971c0",
        ),
        (
            Word("release", "the release's name"),
            Word("environment", "the environment to restore it in"),
            Word("to", "the digest to restore, or its first digits; empty is the release before", ""),
            Word(
                "render", "then restores manifests as they ran, now renders them; empty is then if it can", ""
            ),
            Word("push", _PUSH, "direct"),
            _BASE,
            _ENVIRONMENTS,
            _KEY,
        ),
        composes=False,
    ),
    Verb(
        "status",
        "compare locks, manifests, cluster; trace an object's release",
        "Renders every lock again and compares. With a cluster in KUBECONFIG, compares its objects too.",
        ("run status check=true", "run status object=deployment/support environment=staging"),
        (
            Word("environment", "only this environment", ""),
            Word("release", "only this release", ""),
            Word("object", "<kind>/<name>: print the release, gates, data and commit behind it", ""),
            Word("context", "the kubeconfig context to compare with; empty is the current one", ""),
            Word("check", "true exits with 1 if anything differs", "false"),
            Word("show", "all, or only releases with problems", "all"),
            _ENVIRONMENTS,
        ),
        composes=False,
    ),
    Verb(
        "verify",
        "prove what a release in Git or a folder is, and who signed it",
        "Of a release in Git: composes and plans the recipe with the lock's overrides in a worktree of its "
        "commit, compares the config's digest and the key of every step, and checks who signed lock and "
        "model. Of a folder with a lock or a published model: checks seal, signatures, every byte of the "
        "model and the evidence, without Git or config. Builds nothing. Exits with 1 if something differs, "
        "or if the named signer signed nothing.",
        (
            "run verify release=support environment=production",
            "run verify folder=environments/production/support key=team.pub",
        ),
        (
            Word("release", "the name of a release in Git", ""),
            Word(
                "folder", "a folder with a release.lock or a model, here or at any URL that fsspec opens", ""
            ),
            Word(
                "environment",
                "only the lock in this environment; of a folder, the environment it must be signed for",
                "",
            ),
            Word("key", "the file of a public key that must have signed; empty checks no key", ""),
            Word(
                "identity",
                "the subject that must have signed without a key, such as a workflow's address",
                "",
            ),
            Word("issuer", "the identity provider of 'identity'", ""),
            Word(
                "trust_config", "the trust config of a private Sigstore instance; empty is the public one", ""
            ),
            Word("model", "where the model of the folder's lock is; empty is where the lock says", ""),
            Word("signature", "the file of the model's signature; empty is beside the model", ""),
            _ENVIRONMENTS,
        ),
        composes=False,
    ),
    Verb(
        "log",
        "show what happened to a release, and who did it",
        "Reads the history of the branch that Argo CD follows, newest first: each change of a lock with its "
        "commit, people, gates and skipped conditions. Trailers count as far as the lock agrees; commits of "
        "other tools are compared lock by lock.",
        ("run log release=support", "run log release=support environment=production format=json"),
        (
            Word("release", "the release's name"),
            Word("environment", "only this environment", ""),
            Word("base", "the branch to read; empty is the one that Argo CD follows", ""),
            Word("format", "text, or json with whole digests and commits", "text"),
            _ENVIRONMENTS,
        ),
        composes=False,
    ),
    Verb(
        "diff",
        "show config, plan and manifests against the base branch",
        "Prints for each recipe the keys that differ, the steps that would run again and the manifest diff. "
        "Takes recipes and overrides besides its own words.",
        ("run diff +recipe=quickstart", "run diff +recipe=quickstart,sentiment format=markdown"),
        (
            Word("base", "the branch or commit to compare with; empty is the remote's default", ""),
            Word("format", "text, or markdown for a pull request's comment", "text"),
        ),
    ),
    Verb(
        "argocd",
        "write what connects Argo CD to this repository",
        "Writes environments/argocd/: namespaces, projects, ApplicationSets, a reader for drift, and, for "
        "environments that name signers, who they are and admission policies.",
        (
            "run argocd repo=https://github.com/team/models.git",
            "run argocd server=https://cluster.example.com:6443 namespace=argo",
        ),
        (
            Word("repo", "the repository's URL; empty is the remote 'origin'", ""),
            Word(
                "branch", "the branch that Argo CD syncs; empty keeps it, at first the remote's default", ""
            ),
            Word("server", "the API server that releases run on", "https://kubernetes.default.svc"),
            Word("namespace", "the namespace of Argo CD", "argocd"),
            Word(
                "admission",
                "what admits signed releases alone, where an environment names signers: policy (Kubernetes), "
                "kyverno, both or none",
                "policy",
            ),
            _ENVIRONMENTS,
        ),
        composes=False,
    ),
    Verb(
        "pin",
        "write the commit and sha256 of model=<option> into its file",
        "Resolves the model's source and writes ./conf/model/<option>.yaml.",
        ("run pin model=qwen2.5-0.5b", "run pin model=smollm2-360m"),
    ),
    Verb(
        "changed",
        "list recipes that commits since base=<commit> changed, as JSON",
        "For workflows: a recipe counts as changed if its file, options or local rows changed.",
        ("run changed base=origin/main", "run changed base=HEAD~1"),
        (Word("base", "the commit to compare with"),),
        composes=False,
    ),
    Verb(
        "schema",
        "print the JSON Schema that editors check recipes with",
        "Includes the options of ./conf.",
        ("run schema > recipes/schema.json", "run schema | jq .title"),
        composes=False,
    ),
)
"""In the order in which help lists them."""

NAMES = tuple(verb.name for verb in VERBS)
"""What the first word of a command may be."""
