"""How many inputs a test tries: some in each run, all with ``--fuzz``."""

fuzzing = False


def count(quick: int, all_of_them: int) -> int:
    """The number of inputs in this run."""
    return all_of_them if fuzzing else quick
