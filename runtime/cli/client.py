"""``bin/shoal``: talk to a running node.  The commands are in the ``commands_`` modules beside this one.

It starts fast, so it imports only click and, at first use, http.client: no part of the node itself.  Exit codes:
0 done; 1 the node could not do it, or is not running; 2 bad usage.
"""

from __future__ import annotations

import click

from shoal.runtime.cli import commands_content, commands_finding, commands_keeping, commands_node, commands_pubsub
from shoal.runtime.cli.context import Client, Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--api", metavar="URL", help="The node's API.  [default: SHOAL_API, or the node running in SHOAL_REPO]")
@click.option("--json", "json_wanted", is_flag=True, help="Print the node's answer as JSON.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0.001), help="Give up after this long.")
@click.pass_context
def cli(context: click.Context, /, api: str | None, json_wanted: bool, timeout: float | None) -> None:
    """Talk to a running shoal node."""
    context.obj = Client(api, json_wanted, timeout)


for module in (commands_content, commands_keeping, commands_finding, commands_pubsub, commands_node):
    for command in module.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Entry point of ``shoal``."""
    cli(prog_name="shoal")


if __name__ == "__main__":
    main()
