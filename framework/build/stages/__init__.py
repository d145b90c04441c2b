"""The kinds of work that a plan is made of; each file one stage, or what stages share."""
