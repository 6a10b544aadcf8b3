"""What every command of the client shares: the node to talk to, how answers are printed, how errors end.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

if TYPE_CHECKING:
    from shoal.runtime.cli.rpc import Api, Reply

EXIT_INTERRUPTED: Final = 130


class Client:
    """What the global options ask for."""

    def __init__(self, api: str | None, as_json: bool, timeout_s: float | None) -> None:
        self._api, self._timeout_s = api, timeout_s
        self.as_json = as_json

    @property
    def api(self) -> Api:
        """The node."""
        from shoal.runtime.cli import rpc

        return rpc.from_environment(self._api, self._timeout_s)

    def call(self, command: str, *args: str, **options: Any) -> Reply:
        """One command without a body."""
        return self.api.call(command, *args, **options)

    def show(self, value: Any, lines: Iterable[str]) -> None:
        """Print an answer: as JSON when --json was given."""
        if self.as_json:
            lines = (as_json(value),)
        for line in lines:
            click.echo(line)


class Group(click.Group):
    """Commands whose errors end in one line, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except click.exceptions.ClickException:
            raise
        except BrokenPipeError:
            # Nobody reads standard output any more: end quietly, and keep Python from flushing it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
        except Exception as fault:
            code = getattr(fault, "exit_code", None)
            if not isinstance(code, int):
                raise
            fail(str(fault), code)


def fail(message: str, code: int) -> NoReturn:
    """Say why, and end."""
    click.echo(f"shoal: {message}", err=True)
    raise SystemExit(code)


def as_json(value: Any) -> str:
    """For people and programs alike."""
    import json

    return json.dumps(value, indent=2)


def write_all(chunks: Iterator[bytes], path: str | None) -> None:
    """Bytes to a file, or to standard output."""
    if path is None or path == "-":
        for data in chunks:
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with open(path, "xb") as file:
            for data in chunks:
                file.write(data)
    except FileExistsError:
        fail(f"{path} exists: give another name with -o", 2)
    except OSError as fault:
        fail(f"cannot write {path}: {fault.strerror}", 1)
    except BaseException:
        os.unlink(path)  # a part is worse than nothing
        raise


pass_client = click.make_pass_decorator(Client)
