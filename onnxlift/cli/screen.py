"""Where tables are shown."""

from typing import Final

import click
from rich.console import Console, RenderableType

# Below this numbers would be cut off: a line that the terminal breaks is better than half a number.
FEWEST_COLUMNS: Final = 80
PIPED_COLUMNS: Final = 200


def show(renderable: RenderableType, piped_columns: int = PIPED_COLUMNS) -> None:
    """Print tables as wide as the terminal; into a file or a pipe ``piped_columns`` wide, without
    blanks at the end.
    """
    console = Console(highlight=False)
    if console.is_terminal:
        console.width = max(console.width, FEWEST_COLUMNS)
        console.print(renderable)
        return
    console.width = piped_columns
    with console.capture() as captured:
        console.print(renderable)
    click.echo("\n".join(line.rstrip() for line in captured.get().split("\n")), nl=False)
