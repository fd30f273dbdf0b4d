"""The search: makes candidates, runs them, and chooses one."""
