"""The command line: what every command shares, exit codes, and how errors read.

Exit codes: 0 done; 1 some cells failed; 2 bad input, said in one sentence; 130 interrupted, all finished work kept.
"""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import sys
from typing import Any

import typer
import typer.core
from typer.core import TyperGroup

from db.errors import StoreError
from runner.commands import (
    ability,
    agreement,
    check_method,
    export,
    inbox,
    judge,
    locate,
    ls,
    protocols,
    publish,
    report,
    rescore,
    run,
    show,
    status,
    train_editor,
    validate_data,
    verify,
)
from runner.errors import UserError

BAD_INPUT = 2
INTERRUPTED = 130

# Typer carries its own copy of click or uses the installed one, by version; its public classes lead to the right one.
USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]

# Command groups that bring their own commands: imported only when they are called.
GROUPS = {"atlas": ("runner.atlas.cli", "The invented world and the small model that knows it.")}


class LazyGroup(TyperGroup):
    """The root, with the groups of `GROUPS` beside the commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        found = [name for name, (module, _) in GROUPS.items() if importlib.util.find_spec(module)]
        return [*super().list_commands(ctx), *found]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx) or cmd_name not in GROUPS:
            return super().get_command(ctx, cmd_name)
        # For the list of commands the line of help is enough.
        return typer.core.TyperCommand(cmd_name, help=GROUPS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in GROUPS and command is not None:
            command = typer.main.get_command(importlib.import_module(GROUPS[name][0]).app)
            command.name = name
        return name, command, rest


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Edit language models, ask them, keep what they say, and score it.",
)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("rescore")(rescore.rescore)
app.command("ability")(ability.ability)
app.command("agreement")(agreement.agreement)
app.command("judge")(judge.judge)
app.command("protocols")(protocols.protocols)
app.command("train-editor")(train_editor.train_editor)
app.command("show")(show.show)
app.command("check-method")(check_method.check_method)
app.command("validate-data")(validate_data.validate_data)
app.command("locate")(locate.locate)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("publish")(publish.publish)
app.command("report")(report.report)
app.command("table")(report.table)
app.add_typer(inbox.app, name="inbox")
app.add_typer(ls.app, name="ls")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code. Errors a user can mend are one sentence on stderr."""
    for argument in sys.argv[1:] if arguments is None else arguments:
        if not argument.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            print(f"error: the argument {argument!a} is not text in this system's encoding.", file=sys.stderr)
            return BAD_INPUT
    try:
        code = app(args=arguments, prog_name="python -m runner", standalone_mode=False)
    except USAGE_ERROR as error:
        error.show()  # type: ignore[attr-defined]
        return BAD_INPUT
    except (UserError, StoreError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        # A file or folder that can't be used, wherever it was met: the system's own words name it.
        print(f"error: {error.strerror or error}: {error.filename or 'a file'}.", file=sys.stderr)
        return BAD_INPUT
    if code == INTERRUPTED:
        command = shlex.join(["python", "-m", "runner", *(sys.argv[1:] if arguments is None else arguments)])
        print(f"Interrupted; finished sequences are kept. Continue with: {command}", file=sys.stderr)
    return int(code or 0)
