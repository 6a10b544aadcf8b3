"""The client's commands on what is kept: pin, gc, tiers, scrub and block rm."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import click

from shoal.runtime.cli.commands_content import block
from shoal.runtime.cli.context import Client, fail, pass_client

SCRUB_POLL_S: Final = 1.0  # seconds between two looks at a scrub that is waited for

paths_argument = click.argument("paths", nargs=-1, required=True, metavar="PATH...")
recursive_option = click.option("-r/-R", "--recursive/--no-recursive", default=True, help="With all below it.  [yes]")


@click.group()
def pin() -> None:
    """What is kept whatever happens."""


@pin.command("add")
@paths_argument
@recursive_option
@click.option("-n", "--name", metavar="TEXT", help="A name to find it by.")
@pass_client
def pin_add(client: Client, paths: tuple[str, ...], recursive: bool, name: str | None) -> None:
    """Fetch what is not here, and pin it."""
    how = "recursively" if recursive else "directly"
    reply = client.call("pin/add", *paths, recursive=recursive, name=name, progress=True)
    answer = with_progress(client, reply.lines())
    client.show(answer, [f"pinned {cid} {how}" for cid in answer["Pins"]])


@pin.command("rm")
@paths_argument
@recursive_option
@pass_client
def pin_rm(client: Client, paths: tuple[str, ...], recursive: bool) -> None:
    """Unpin.  What nothing else keeps goes with the next collection of garbage."""
    answer = client.call("pin/rm", *paths, recursive=recursive).json()
    client.show(answer, [f"unpinned {cid}" for cid in answer["Pins"]])


@pin.command("ls")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("-t", "--type", "kind", default="all", show_default=True, help="all, direct, indirect or recursive.")
@click.option("-n", "--name", metavar="TEXT", help="Only those whose name contains it.")
@click.option("--names", is_flag=True, help="Print names too.")
@click.option("-q", "--quiet", is_flag=True, help="Print only CIDs.")
@pass_client
def pin_ls(client: Client, paths: tuple[str, ...], kind: str, name: str | None, names: bool, quiet: bool) -> None:
    """List pins; with PATHs, how each of them is pinned."""
    from shoal.runtime.cli.show import printable

    for line in client.call("pin/ls", *paths, type=kind, name=name, names=names, stream=True).lines():
        words = (line["Cid"],) if quiet else (line["Cid"], line["Type"], line.get("Name", ""))
        client.show(line, [printable(" ".join(word for word in words if word))])


@pin.command("update")
@click.argument("old")
@click.argument("new")
@click.option("--unpin/--no-unpin", default=True, help="Unpin OLD.  [yes]")
@pass_client
def pin_update(client: Client, old: str, new: str, unpin: bool) -> None:
    """Pin NEW in the place of OLD."""
    answer = with_progress(client, client.call("pin/update", old, new, unpin=unpin, progress=True).lines())
    client.show(answer, [f"updated {answer['Pins'][0]} to {answer['Pins'][1]}"])


@pin.command("verify")
@click.option("-v", "--verbose", is_flag=True, help="Name also those that are whole.")
@pass_client
def pin_verify(client: Client, verbose: bool) -> None:
    """Look whether recursive pins are whole."""
    broken = False
    for line in client.call("pin/verify", verbose=verbose).lines():
        broken = broken or not line.get("Ok")
        faults = [f"  {node['Cid']}: {node['Err']}" for node in line.get("BadNodes", [])]
        client.show(line, [f"{line['Cid']} {'ok' if line.get('Ok') else 'broken'}", *faults])
    if broken:
        fail("some pins are not whole: `shoal pin add` fetches what is missing", 1)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say how much would go.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the last line.")
@pass_client
def gc(client: Client, dry_run: bool, quiet: bool) -> None:
    """Delete what no pin and no running request keeps."""
    from shoal.runtime.cli.progress import progress
    from shoal.runtime.cli.show import size

    lines = client.call("repo/gc", dry_run=dry_run, stats=True).lines()
    with progress("collecting", None, not client.as_json) as count:
        for line in lines:
            if stats := line.get("Stats"):
                end = f"{stats['Blocks']} blocks, {size(stats['Bytes'])}; {stats['Kept']} blocks are kept"
                client.show(line, [f"{'would go' if dry_run else 'removed'}: {end}"])
                continue
            count(line["Size"])
            if not quiet:
                client.show(line, [f"removed {line['Key']['/']}"])


@click.command()
@click.option("--once", is_flag=True, help="Print once.  [default unless standard output is a terminal]")
@click.option("-i", "--interval", type=click.FloatRange(min=0.5), default=2.0, show_default=True, metavar="SECONDS")
@pass_client
def tiers(client: Client, once: bool, interval: float) -> None:
    """What the storage tiers hold, and what moves between them."""
    from shoal.runtime.cli import show_tiers

    if once or client.as_json or not sys.stdout.isatty():
        answer = client.call("shoal/tiers").json()
        client.show(answer, show_tiers.text(answer))
    else:
        show_tiers.live(lambda: client.call("shoal/tiers").json(), interval)


@click.command()
@click.option("--wait", is_flag=True, help="Return when it has ended; exit code 1 when blocks were damaged.")
@click.option("--status", "only_status", is_flag=True, help="Start nothing, only say how it stands.")
@pass_client
def scrub(client: Client, wait: bool, only_status: bool) -> None:
    """Read every block and see whether it is still what its name says."""
    from shoal.runtime.cli import show_tiers

    before = client.call("shoal/scrub", start=False).json()
    answer = before if only_status else client.call("shoal/scrub").json()
    same = only_status or before["Tier"]  # the one that runs is the one to wait for, else one that is yet to begin
    while wait and (answer["Tier"] or not (same or answer["Began"] != before["Began"])):
        time.sleep(SCRUB_POLL_S)
        answer = client.call("shoal/scrub", start=False).json()
    client.show(answer, show_tiers.scrub(answer))
    if wait and answer["Damaged"] > answer["Repaired"]:
        fail(f"{answer['Damaged'] - answer['Repaired']} damaged blocks were set aside and not found elsewhere", 1)


@block.command("rm")
@click.argument("cids", nargs=-1, required=True, metavar="CID...")
@click.option("-f", "--force", is_flag=True, help="Do not mind blocks that are not here.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what could not be removed.")
@pass_client
def block_rm(client: Client, cids: tuple[str, ...], force: bool, quiet: bool) -> None:
    """Delete blocks that no pin keeps."""
    failed = False
    for line in client.call("block/rm", *cids, force=force).lines():
        if why := line.get("Error"):
            failed = True
            click.echo(f"cannot remove {line['Hash']}: {why}", err=True)
        elif not quiet:
            client.show(line, [f"removed {line['Hash']}"])
    if failed:
        fail("some blocks not removed", 1)


def with_progress(client: Client, lines: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """The last line of a command that tells its progress in the others."""
    from shoal.runtime.cli.progress import progress

    answer: dict[str, Any] = {"Pins": []}
    told = 0
    with progress("fetching", None, not client.as_json) as count:
        for line in lines:
            if "Pins" in line:
                answer = line
                continue
            count(line["Bytes"] - told)
            told = line["Bytes"]
    return answer


COMMANDS = (pin, gc, tiers, scrub)
