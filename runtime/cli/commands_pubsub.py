"""The client's commands on topics: pubsub ls, peers, pub and sub."""

from __future__ import annotations

import base64
import sys

import click

from shoal.runtime.cli.commands_finding import upload
from shoal.runtime.cli.context import Client, pass_client


def encoded(topic: str) -> str:
    """A topic as the RPC takes it: multibase base64url."""
    return "u" + base64.urlsafe_b64encode(topic.encode("utf-8", "surrogateescape")).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """What is in a multibase base64url text of the node."""
    body = text[1:]
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


@click.group()
def pubsub() -> None:
    """Topics and their messages (gossipsub)."""


@pubsub.command("ls")
@pass_client
def pubsub_ls(client: Client) -> None:
    """Topics that the node is subscribed to."""
    from shoal.runtime.cli.show import printable

    names = [decoded(text).decode("utf-8", "replace") for text in client.call("pubsub/ls").json()["Strings"] or []]
    client.show(names, map(printable, names))


@pubsub.command("peers")
@click.argument("topic", required=False)
@pass_client
def pubsub_peers(client: Client, topic: str | None) -> None:
    """Connected peers that are subscribed to TOPIC, or that speak gossipsub at all."""
    answer = client.call("pubsub/peers", *((encoded(topic),) if topic else ())).json()
    client.show(answer, answer["Strings"] or [])


@pubsub.command("pub")
@click.argument("topic")
@click.argument("path", metavar="FILE", default="-")
@pass_client
def pubsub_pub(client: Client, topic: str, path: str) -> None:
    """Publish the data in FILE, or of standard input, to TOPIC."""
    upload(client, "pubsub/pub", encoded(topic), path)


@pubsub.command("sub")
@click.argument("topic")
@pass_client
def pubsub_sub(client: Client, topic: str) -> None:
    """Print what is published to TOPIC, as bytes, until Ctrl-C; with --json one object a message."""
    for line in client.call("pubsub/sub", encoded(topic)).lines():
        if client.as_json:
            client.show(line, ())
        else:
            sys.stdout.buffer.write(decoded(line["data"]))
        sys.stdout.flush()


COMMANDS = (pubsub,)
