"""What all commands share: how they end, what they take, how they print."""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from nodeportsim.errors import InputError, NodePortSimError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nodeportsim.scenario.spec import Scenario

INTERRUPTED = 130  # 128 + SIGINT, as shells report it.
PLUGIN = "kubectl-"  # kubectl runs a program of this name and the word after it: kubectl plugin list.
BROKEN_PIPE = 141  # 128 + SIGPIPE: what a program that does not handle the signal would give.


class Commands(click.RichGroup):
    """A group whose commands end with one of our exit codes, whatever happens in them."""

    def main(  # type: ignore[override]  # click has two overloads, of which one never returns
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Start; a plugin of kubectl is called as people type it, ``kubectl nodeportsim``."""
        called = Path(sys.argv[0]).stem
        if prog_name is None and called.startswith(PLUGIN):
            prog_name = f"kubectl {called.removeprefix(PLUGIN)}"
        return super().main(args, prog_name, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn what it raises into a message and an exit code."""
        try:
            if sys.stdout is None:  # The shell's >&-: the answer would be lost after the work.
                raise InputError("is closed", field="standard output")  # noqa: TRY301  (the same ending)
            answer = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, Exit):
            raise
        except BaseException as error:  # noqa: BLE001  (whatever it is, it must become an exit code)
            if ctx.meta.get("debug"):
                traceback.print_exc()
            ctx.exit(exit_code(error))
        else:
            return answer


def exit_code(error: BaseException) -> int:
    """Say on stderr what went wrong, and give its exit code."""
    match error:
        case KeyboardInterrupt() | click.Abort():
            click.echo(f"interrupted; {str(error) or 'nothing was written'}", err=True)
            return INTERRUPTED
        case BrokenPipeError() | SystemExit():  # Rich makes a SystemExit of a broken pipe.
            _drop_stdout()
            return BROKEN_PIPE
        case NodePortSimError():
            located = getattr(error, "location", None) is not None
            click.echo(str(error) if located else f"error: {error}", err=True)
            return error.exit_code
        case OSError():
            _drop_stdout()
            click.echo(f"error: the system refuses: {error.strerror or error}", err=True)
            return InputError.exit_code
        case MemoryError():
            click.echo("error: the system has no memory left for this", err=True)
            return InputError.exit_code
        case _:
            kind = type(error).__name__
            click.echo(f"error: this is a bug in nodeportsim: {kind}: {error}", err=True)
            click.echo("  Run again with --debug for the traceback, and please report it.", err=True)
            return NodePortSimError.exit_code


def _drop_stdout() -> None:
    """Let the interpreter's last flush go nowhere: it would fail a second time, loudly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta["debug"] = ctx.meta.get("debug", False) or value


def options(*group: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Join options that several commands take into one decorator."""

    def decorate(command: Any) -> Any:
        for option in reversed(group):
            command = option(command)
        return command

    return decorate


debug = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
)
question = options(
    click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="proxy.mode=ipvs (repeatable)."),
    click.option("--service", metavar="NAMESPACE/NAME", help="The Service under study, in a dump of many."),
)
resources = options(
    click.option("--engine", type=click.Choice(["compiled", "simpy"]), help="Same results, other speed."),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Replications at a time.",
    ),
    click.option("--quiet", is_flag=True, help="No progress."),
)
work = options(
    click.option("--replications", type=click.IntRange(min=1), help="Instead of the file's."), resources
)


def output(*kinds: str) -> Callable[[Any], Any]:
    """Make the option ``-o``; the first kind is the default."""
    return click.option("-o", "--output", "kind", type=click.Choice(kinds), default=kinds[0], help="Format.")


def folder(*, required: bool) -> Callable[[Any], Any]:
    """Make the option ``--out``."""
    kind = click.Path(path_type=Path)
    return click.option("--out", metavar="DIR", type=kind, required=required, help="Write results here.")


def read_scenario(
    file: str | None, example: str | None, sets: Sequence[str], service: str | None
) -> Scenario:
    """Read the one scenario that FILE or ``--example`` names."""
    from nodeportsim.scenario.read import read

    if (file is None) == (example is None):
        raise click.UsageError("give a FILE or --example NAME, one of the two")
    if example is not None:
        from nodeportsim.scenario.read import example_path

        file = str(example_path(example))
    return read(str(file), sets=sets, service=service)


def announce_compilation(engine: str, quiet: bool) -> None:
    """Say why the first large run takes a minute before anything moves."""
    from nodeportsim.engine.cache import is_warm

    if engine == "compiled" and not quiet and sys.stderr.isatty() and not is_warm():
        click.echo("compiling the simulation, once for this version: a minute", err=True)


@contextmanager
def progress_bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function (done, total) that draws a bar on stderr, or None where nobody looks at it."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_json(value: Any) -> None:
    """Print a value for machines."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows of the same keys: numbers to the right, nothing where there is nothing."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, table = Console(highlight=False), Table()
    for column in rows[0] if rows else ():
        numbers = all(isinstance(row[column], int | float | None) for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        # Text, not str: names from a user's file are no markup.
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    console.print(Text(title, style="italic"))
    console.print(table)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
