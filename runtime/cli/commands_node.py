"""The client's commands on the node and its network: who it is, who is connected, what goes on inside."""

from __future__ import annotations

import click

from shoal.runtime.cli.context import Client, as_json, pass_client, write_all


@click.command("id")
@click.argument("peer", required=False)
@pass_client
def show_id(client: Client, peer: str | None) -> None:
    """Who the node is, or a connected PEER."""
    click.echo(as_json(client.call("id", *((peer,) if peer else ())).json()))


@click.command()
@pass_client
def version(client: Client) -> None:
    """The node's version."""
    answer = client.call("version").json()
    client.show(answer, [f"shoal {answer['Version']} ({answer.get('System', '')})"])


@click.command()
@click.argument("addrs", nargs=-1, required=True, metavar="MULTIADDR...")
@pass_client
def connect(client: Client, addrs: tuple[str, ...]) -> None:
    """Connect to peers."""
    answer = client.call("swarm/connect", *addrs).json()
    client.show(answer, answer["Strings"])


@click.command()
@click.argument("peers", nargs=-1, required=True, metavar="PEER...")
@pass_client
def disconnect(client: Client, peers: tuple[str, ...]) -> None:
    """Close all connections to peers."""
    answer = client.call("swarm/disconnect", *peers).json()
    client.show(answer, answer["Strings"])


@click.command()
@click.argument("peer", required=False)
@click.option("--sources", is_flag=True, help="All that are known, not only who is connected: who told of them.")
@pass_client
def peers(client: Client, peer: str | None, sources: bool) -> None:
    """Who is connected; with --sources or a PEER, what the peer book knows."""
    from shoal.runtime.cli import show, show_finding

    if sources or peer:
        answer = client.call("shoal/book", *((peer,) if peer else ())).json()
        client.show(answer, show_finding.book(answer))
        return
    answer = client.call("swarm/peers", verbose=True).json()
    client.show(answer, show.peers(answer["Peers"]))


@click.command()
@pass_client
def stat(client: Client) -> None:
    """What was swapped, and what is kept."""
    from shoal.runtime.cli import show

    bitswap, repo = client.call("bitswap/stat").json(), client.call("repo/stat").json()
    client.show({"Bitswap": bitswap, "Repo": repo}, show.stat(bitswap, repo))


@click.command()
@click.argument("peer", required=False)
@pass_client
def wants(client: Client, peer: str | None) -> None:
    """What is wanted, by this node and by others; or by one PEER."""
    from shoal.runtime.cli import show

    answer = client.call("bitswap/wantlist", peer=peer).json()
    client.show(answer, show.wants(answer["Wants"]))


@click.command()
@click.argument("peer")
@click.option("-n", "--count", type=click.IntRange(1, 1000), default=10, show_default=True)
@pass_client
def ping(client: Client, peer: str, count: int) -> None:
    """Measure round trips to a PEER."""
    for line in client.call("ping", peer, count=count).lines():
        client.show(line, [line["Text"] or f"Pong received: time={line['Time'] / 1e6:.2f} ms"])


@click.command()
@pass_client
def routes(client: Client) -> None:
    """The table of messages: who may send each, and who receives it."""
    answer = client.call("shoal/routes").json()
    client.show(answer, answer["Routes"].splitlines())


@click.command()
@click.argument("trace_id", metavar="ID")
@pass_client
def trace(client: Client, trace_id: str) -> None:
    """What the flight recorder holds of one request."""
    from shoal.runtime.cli import show

    answer = client.call("shoal/trace", trace_id).json()
    client.show(answer, show.events(answer))


@click.command()
@pass_client
def actors(client: Client) -> None:
    """Every actor and its mailbox."""
    from shoal.runtime.cli import show

    answer = client.call("shoal/actors").json()
    client.show(answer, show.actors(answer))


@click.command()
@click.argument("name", required=False)
@pass_client
def role(client: Client, name: str | None) -> None:
    """The policy in force; with NAME, change to that role."""
    from shoal.runtime.cli import show

    answer = client.call("shoal/role", *((name,) if name else ())).json()
    client.show(answer, show.policy(answer))


@click.command()
@click.argument("actor")
@pass_client
def crash(client: Client, actor: str) -> None:
    """Make an ACTOR fail, to see the node recover."""
    answer = client.call("shoal/crash", actor).json()
    client.show(answer, [f"crashed {answer['Crashed']}"])


@click.command()
@pass_client
def shutdown(client: Client) -> None:
    """Stop the node in order."""
    write_all(client.call("shutdown").chunks(), None)


COMMANDS = (
    show_id,
    version,
    connect,
    disconnect,
    peers,
    stat,
    wants,
    ping,
    routes,
    trace,
    actors,
    role,
    crash,
    shutdown,
)
