"""The client's commands on content: add, get, cat, ls, block and dag."""

from __future__ import annotations

import os
from typing import Any

import click

from shoal.runtime.cli.context import Client, pass_client, write_all


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-r", "--recursive", is_flag=True, help="Add folders with all that is in them.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the CID of each PATH.")
@click.option("-w", "--wrap", is_flag=True, help="Put what is added into a folder.")
@click.option("-n", "--only-hash", is_flag=True, help="Store nothing.")
@click.option("--hidden/--no-hidden", default=True, help="Add files whose names begin with a dot.  [default: yes]")
@click.option("--cid-version", type=click.IntRange(0, 1))
@click.option("--raw-leaves/--no-raw-leaves", default=None)
@click.option("--chunker", metavar="size-N")
@click.option("--profile", metavar="NAME", help="unixfs-v0-2015 or unixfs-v1-2025.")
@click.option("--pin/--no-pin", default=True, help="Keep it whatever happens.  [default: yes]")
@click.option("--pin-name", metavar="TEXT", help="A name for the pin.")
@pass_client
def add(
    client: Client, /, paths: tuple[str, ...], recursive: bool, quiet: bool, wrap: bool, hidden: bool, **options: Any
) -> None:
    """Add files; "-" is standard input."""
    from shoal.runtime.cli.progress import progress
    from shoal.runtime.cli.upload import Upload

    sizes = [os.path.getsize(path) if os.path.isfile(path) else None for path in paths]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    with progress("adding", total, not quiet) as count:
        upload = Upload(count)
        body = upload.body(paths, recursive, hidden)
        reply = client.api.call("add", body=body, content_type=upload.content_type, wrap_with_directory=wrap, **options)
        # A folder comes after all that is in it, and what wraps comes last.
        roots = [line for line in reply.lines() if not shown(client, line, quiet) and is_root(line, wrap)]
    if quiet:
        for line in roots:
            click.echo(line["Hash"])


def shown(client: Client, line: dict[str, Any], quiet: bool) -> bool:
    """Print a line of ``add`` unless quiet.  Whether it was printed, and need not be kept."""
    if not quiet:
        client.show(line, [f"added {line['Hash']} {line['Name']}"])
    return not quiet


def is_root(line: dict[str, Any], wrapped: bool) -> bool:
    """Whether a line of ``add`` is of a path that the user named, not of something in it."""
    return line["Name"] == line["Hash"] if wrapped else "/" not in line["Name"]


@click.command()
@click.argument("path")
@click.option("-o", "--output", metavar="OUT", help="Where to put it.  [default: its name, here]")
@click.option("-f", "--force", is_flag=True, help="Replace a file.")
@pass_client
def get(client: Client, path: str, output: str | None, force: bool) -> None:
    """Fetch a file or folder and write it here, whole or not at all."""
    from shoal.runtime.cli.download import unpack
    from shoal.runtime.cli.progress import progress

    reply = client.call("get", path, archive=True)
    with progress("getting", None) as count:
        final = unpack(reply.chunks(), output, force, count)
    client.show({"Path": final}, [f"saved {final}"])


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-o", "--offset", type=click.IntRange(min=0), help="Begin at this byte.")
@click.option("-l", "--length", type=click.IntRange(min=0), help="At most so many bytes.")
@pass_client
def cat(client: Client, paths: tuple[str, ...], offset: int | None, length: int | None) -> None:
    """Print a file."""
    write_all(client.call("cat", *paths, offset=offset, length=length).chunks(), None)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@pass_client
def ls(client: Client, paths: tuple[str, ...]) -> None:
    """List folders."""
    from shoal.runtime.cli import show

    answer = client.call("ls", *paths).json()
    client.show(answer, show.listing(answer["Objects"]))


@click.group()
def block() -> None:
    """Single blocks."""


@block.command("get")
@click.argument("cid")
@click.option("-o", "--output", metavar="OUT", help="Where to put it.  [default: standard output]")
@pass_client
def block_get(client: Client, cid: str, output: str | None) -> None:
    """Print a block's bytes."""
    write_all(client.call("block/get", cid).chunks(), output)


@block.command("put")
@click.argument("path")
@click.option("--cid-codec", default="raw", show_default=True)
@click.option("--mhtype", default="sha2-256", show_default=True)
@pass_client
def block_put(client: Client, path: str, cid_codec: str, mhtype: str) -> None:
    """Store a file's bytes as one block."""
    from shoal.runtime.cli.upload import Upload

    upload = Upload()
    answer = client.api.call(
        "block/put",
        body=upload.body((path,), False),
        content_type=upload.content_type,
        cid_codec=cid_codec,
        mhtype=mhtype,
    ).json()
    client.show(answer, [answer["Key"]])


@block.command("stat")
@click.argument("cid")
@pass_client
def block_stat(client: Client, cid: str) -> None:
    """A block's size, its tier and how it is used."""
    answer = client.call("block/stat", cid).json()
    client.show(answer, [f"{answer['Key']} {answer['Size']}", *block_use(answer)])


def block_use(answer: dict[str, Any]) -> list[str]:
    """What is known of a block's use; it is told to the keeper a moment after it was used."""
    if not answer.get("Tier") and not answer.get("Pin"):
        return []
    pin = f", pinned ({answer['Pin']})" if answer["Pin"] else ""
    return [f"{answer['Tier'] or 'unknown'} tier, heat {answer['Heat']:.2f}, {answer['Uses']} uses{pin}"]


@click.group()
def dag() -> None:
    """DAGs as CAR archives."""


@dag.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="CAR...")
@click.option("--pin-roots/--no-pin-roots", default=True, help="Pin what the archives are of.  [default: yes]")
@pass_client
def dag_import(client: Client, paths: tuple[str, ...], pin_roots: bool) -> None:
    """Store the blocks of CAR archives."""
    from shoal.runtime.cli.progress import progress
    from shoal.runtime.cli.upload import Upload

    with progress("importing", None) as count:
        upload = Upload(count)
        body = upload.body(paths, False)
        options = {"stats": True, "pin_roots": pin_roots}
        reply = client.api.call("dag/import", body=body, content_type=upload.content_type, **options)
        for line in reply.lines():
            client.show(line, [imported(line)])


def imported(line: dict[str, Any]) -> str:
    """A line of ``dag import``."""
    if stats := line.get("Stats"):
        return f"imported {stats['BlockCount']} blocks, {stats['BlockBytesCount']} bytes"
    fault = line["Root"].get("PinErrorMsg")
    return f"root {line['Root']['Cid']['/']}" + (f": {fault}" if fault else "")


@dag.command("export")
@click.argument("cid")
@click.option("-o", "--output", metavar="OUT", help="Where to put it.  [default: standard output]")
@pass_client
def dag_export(client: Client, cid: str, output: str | None) -> None:
    """Write a DAG as a CAR archive."""
    write_all(client.call("dag/export", cid).chunks(), output)


COMMANDS = (add, get, cat, ls, block, dag)
