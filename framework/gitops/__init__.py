"""Verbs whose only effect is a commit: promote, roll back, propose, and what surrounds them.

Each works in a temporary Git worktree of the branch that it changes, so the caller's checkout is not
touched. A verb that fails leaves no branch, no commit that a ref names, and no changed file.
"""
