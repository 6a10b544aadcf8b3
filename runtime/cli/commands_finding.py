"""The client's commands on finding and being found: find, announce, routing and dht."""

from __future__ import annotations

import sys
from typing import Any

import click

from shoal.runtime.cli.context import Client, fail, pass_client

cids_argument = click.argument("cids", nargs=-1, required=True, metavar="CID...")
count_option = click.option("-n", "--num-providers", type=click.IntRange(0, 1000), default=20, show_default=True)


@click.command()
@click.argument("cid")
@count_option
@pass_client
def find(client: Client, cid: str, num_providers: int) -> None:
    """Who has CID: which source said so, and when; last what each source did.  -n 0: all that can be found."""
    from shoal.runtime.cli import show_finding

    found = 0
    for line in client.call("shoal/find", cid, num_providers=num_providers).lines():
        if "Ended" in line:
            client.show(line, show_finding.search_ended(line))
            continue
        found += 1
        client.show(line, [show_finding.found(line)])
        sys.stdout.flush()
    if not found:
        fail(f"nobody was found who has {cid}", 1)


@click.command()
@pass_client
def routing(client: Client) -> None:
    """What searches and sources have done."""
    from shoal.runtime.cli import show_finding

    answer = client.call("shoal/routing").json()
    client.show(answer, show_finding.routing(answer))


# --- announcing ---------------------------------------------------------------------------------------


@click.command()
@cids_argument
@click.option("--meta", metavar="KEY=VALUE", multiple=True, help="Tell this with it, over pubsub.  May be repeated.")
@click.option("--way", type=click.Choice(["dht", "pubsub"]), help="Only this way.  [default: both]")
@click.option("--once", is_flag=True, help="Do not announce it again before the records expire.")
@pass_client
def announce(client: Client, cids: tuple[str, ...], meta: tuple[str, ...], way: str | None, once: bool) -> None:
    """Tell others that this node has CIDs, now and again, until they are withdrawn."""
    import json

    pairs = [pair.partition("=") for pair in meta]
    for key, sign, _ in pairs:
        if not key or not sign:
            fail(f"--meta {key!r} is no KEY=VALUE", 2)
    metadata = json.dumps({key: value for key, _, value in pairs}) if pairs else None
    answer = client.call("shoal/announce", *cids, metadata=metadata, way=way, once=once or None).json()
    client.show(answer, [f"announced {answer['Accepted']}; the backlog has {answer['Backlog']} announcements"])


@click.command()
@cids_argument
@pass_client
def withdraw(client: Client, cids: tuple[str, ...]) -> None:
    """Announce CIDs no more; what others know of them expires by itself."""
    answer = client.call("shoal/withdraw", *cids).json()
    client.show(answer, [f"withdrew {cid}" for cid in answer["Withdrawn"]])


@click.command()
@click.option("-n", "--limit", type=click.IntRange(0, 1000), default=20, show_default=True, help="Rows to show.")
@pass_client
def announcements(client: Client, limit: int) -> None:
    """What this node announces, and what is late."""
    from shoal.runtime.cli import show_finding

    answer = client.call("shoal/announcements", limit=limit).json()
    client.show(answer, show_finding.backlog(answer))


# --- the DHT ------------------------------------------------------------------------------------------


@click.group()
def dht() -> None:
    """Ask the DHT itself."""


@dht.command("stat")
@click.option("-v", "--verbose", is_flag=True, help="Show every bucket.")
@pass_client
def dht_stat(client: Client, verbose: bool) -> None:
    """The routing tables, and what was asked and served."""
    from shoal.runtime.cli import show_finding

    answer = client.call("shoal/dht-stat").json()
    client.show(answer, show_finding.tables(answer, verbose))


@dht.command("query")
@click.argument("key", metavar="PEER_OR_CID")
@click.option("--lan/--public", default=None, help="In the LAN's DHT or the public one.  [default: where somebody is]")
@pass_client
def dht_query(client: Client, key: str, lan: bool | None) -> None:
    """The peers nearest to a peer or a CID."""
    for line in client.call("dht/query", key, lan=lan).lines():
        client.show(line, [line["ID"]])


@dht.command("findprovs")
@click.argument("cid")
@count_option
@pass_client
def dht_findprovs(client: Client, cid: str, num_providers: int) -> None:
    """Who is said to have CID, by all sources: peer ids alone."""
    for line in client.call("routing/findprovs", cid, num_providers=num_providers or None).lines():
        client.show(line, [each["ID"] for each in line["Responses"] or []])
        sys.stdout.flush()


@dht.command("findpeer")
@click.argument("peer")
@pass_client
def dht_findpeer(client: Client, peer: str) -> None:
    """Where PEER can be dialled."""
    from shoal.runtime.cli.show import printable

    for line in client.call("routing/findpeer", peer).lines():
        client.show(line, [printable(addr) for each in line["Responses"] or [] for addr in each["Addrs"]])


@dht.command("provide")
@cids_argument
@click.option("-r", "--recursive", is_flag=True, help="With all that is below them.")
@pass_client
def dht_provide(client: Client, cids: tuple[str, ...], recursive: bool) -> None:
    """Put provider records of CIDs into the DHT now, once; wait for it."""
    for line in client.call("routing/provide", *cids, recursive=recursive).lines():
        client.show(line, [f"provided {line['Extra']}"])
        sys.stdout.flush()


@dht.command("get")
@click.argument("key")
@pass_client
def dht_get(client: Client, key: str) -> None:
    """The best value under KEY, such as /ipns/NAME, to standard output."""
    import base64

    for line in client.call("routing/get", key).lines():
        if client.as_json:
            client.show(line, ())
        else:
            sys.stdout.buffer.write(base64.b64decode(line["Extra"]))
            sys.stdout.buffer.flush()


@dht.command("put")
@click.argument("key")
@click.argument("path", metavar="FILE")
@pass_client
def dht_put(client: Client, key: str, path: str) -> None:
    """Store the value in FILE ("-": standard input) under KEY; it must be valid for it."""
    for line in upload(client, "routing/put", key, path):
        client.show(line, [f"stored at {line['Stored']} peers"])


def upload(client: Client, command: str, argument: str, path: str) -> list[dict[str, Any]]:
    """Send a command with one file; its answer's lines."""
    from shoal.runtime.cli.upload import Upload

    sent = Upload()
    body = sent.body((path,), recursive=False)
    return list(client.api.call(command, argument, body=body, content_type=sent.content_type).lines())


COMMANDS = (find, routing, announce, withdraw, announcements, dht)
