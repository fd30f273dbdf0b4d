"""Where tables are shown."""

from typing import Final

from rich.console import Console, RenderableType

# Below this numbers would be cut off: a line that the terminal breaks is better than half a number.
FEWEST_COLUMNS: Final = 80
PIPED_COLUMNS: Final = 200


def show(renderable: RenderableType, piped_columns: int = PIPED_COLUMNS) -> None:
    """Print tables as wide as the terminal, or as ``piped_columns`` where the output is a file or a pipe."""
    console = Console(highlight=False)
    console.width = max(console.width, FEWEST_COLUMNS) if console.is_terminal else piped_columns
    console.print(renderable)
