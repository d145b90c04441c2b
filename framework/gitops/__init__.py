"""The way from one environment to the next, and back: verbs whose only effect is a commit.

Each works in a temporary work tree of the branch that it changes, so that the caller's own is left as it
is; what fails leaves no branch, no commit that is named, and no changed file.
"""
