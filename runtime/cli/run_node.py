"""``bin/run-node``: start a node, wait, stop it in order, say why by the exit code.

Exit codes: 0 stopped in order; 1 could not start or stop (port in use, repo in use, not stopped in time); 2 bad flags;
70 the supervisor gave up; 78 bad configuration; 128+n a second signal n while stopping.

SIGTERM and SIGINT stop the node; a second one ends the process at once.  What the node is, is ``runtime.node``; this
is only its front door.  Standard output has what was asked for (the addresses, once the node is ready), standard error
the log.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any, Final, Protocol, cast

import click

from shoal.messages.errors import BadConfig, LocalError
from shoal.messages.transport import Identity
from shoal.runtime.cli import logs
from shoal.runtime.config import Config, load

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 78  # EX_CONFIG
WATCHDOG_SLACK_S: Final = 1.5
"""Beyond the time for an ordered stop, after which the process ends in any case: 8 + 1.5 s is below the 10 s that
container runtimes wait before they kill."""

LAZY: Final = ("requests", "httpx")
"""Modules that py-libp2p imports for a part of it that a node has no use for: HTTP clients that get certificates for
browsers' websockets.  They and what they import in turn are a tenth of an idle node's memory."""

log = logging.getLogger("shoal.run_node")


class RunningNode(Protocol):
    """What of ``runtime.node.Node`` is used here."""

    api_addr: str

    def start(self) -> None:
        """Serve; raises LocalError."""

    def identity(self) -> Identity:
        """Peer id and addresses."""

    def request_stop(self) -> None:
        """Have ``wait`` return."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for a reason to stop: the exit code."""

    def stop(self, timeout_s: float) -> bool:
        """Stop in order.  Whether that was done in time."""


MakeNode = Callable[[Config], RunningNode]


def make_node(config: Config) -> RunningNode:
    """The real node.  Imported late: bad flags and configurations are told at once."""
    from shoal.runtime.node import Node

    return Node(config)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--repo", metavar="DIR", help="The node's folder.  [default: ~/.shoal]")
@click.option("--role", metavar="ROLE", help="master, worker or leecher.  [default: worker]")
@click.option("--listen", metavar="MULTIADDR", multiple=True, help="Listen here.  May be repeated.")
@click.option("--api", metavar="HOST:PORT", help="Address of the HTTP API.  [default: 127.0.0.1:5001]")
@click.option("--config", metavar="FILE", help="Configuration file.  [default: config.toml in the repo]")
@click.option("--offline", is_flag=True, default=None, help="Neither listen nor dial.")
@click.option("--peer", "peers", metavar="MULTIADDR", multiple=True, help="Stay connected to it.  May be repeated.")
@click.option("--sources", metavar="NAMES", help="Ways to find peers, by commas, or none.  [default: all]")
@click.option("--bootstrap", metavar="MULTIADDR", multiple=True, help="Enter the network here.  [default: IPFS's own]")
@click.option("--delegated", metavar="URL", multiple=True, help="Ask this HTTP router, /routing/v1.  May be repeated.")
@click.option("--gateway", "gateways", metavar="URL", multiple=True, help="Fetch from this trustless HTTP gateway too.")
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON: id, addrs, api.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.  [default: info]")
@click.option("--log-format", metavar="FORMAT", help="text or json.  [default: text]")
@click.pass_context
def cli(context: click.Context, /, config: str | None, as_json: bool, **flags: Any) -> None:
    """Start a shoal node and serve until SIGTERM or Ctrl-C."""
    if context.invoked_subcommand is None:
        given = {name: value for name, value in flags.items() if value not in (None, ())}
        context.exit(run(lambda: load(given, config_file=config), as_json, context.obj or make_node))


@cli.command()
def routes() -> None:
    """Print the table of messages: who may send each, and who receives it."""
    from shoal.runtime.supervisor.routes import render

    click.echo(render(), nl=False)


def run(read_config: Callable[[], Config], as_json: bool, make: MakeNode) -> int:
    """Run a node to its end.  The exit code."""
    try:
        config = read_config()
        logs.set_up(config.log_level, config.log_format)
        with _Signals(config.timeouts.stop_s) as signals:
            node = make(config)
            signals.node = node
            if signals.asked:
                return EXIT_OK
            node.start()
            _calm_collector()
            if not signals.asked:
                _announce(node, as_json)
            return _serve(node, config.timeouts.stop_s, signals)
    except BadConfig as fault:
        click.echo(f"run-node: {fault}", err=True)
        return EXIT_CONFIG
    except LocalError as fault:
        click.echo(f"run-node: {fault}", err=True)
        return EXIT_FAILED
    except Exception:
        log.exception("run-node: a fault of shoal's own")
        return EXIT_FAILED


def _calm_collector() -> None:
    """Leave what the imports and the start made, some 300,000 objects, out of every collection to come.

    Python's own thresholds stay: measured in transfers, the many small collections cost 0.4 % of the time and took
    2.2 ms at most, where one for every 20,000 objects took 7 to 14.
    """
    gc.collect()
    gc.freeze()


def _announce(node: RunningNode, as_json: bool) -> None:
    """Say on standard output where the node can be found."""
    me = node.identity()
    if as_json:
        text = json.dumps({"id": me.peer, "addrs": list(me.addrs), "api": node.api_addr})
    else:
        listening = "".join(f"listening on {addr}\n" for addr in me.addrs)
        text = f"peer id {me.peer}\n{listening}API on http://{node.api_addr}\nready"
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        pass  # nobody reads it: no reason not to serve


def _serve(node: RunningNode, stop_s: float, signals: _Signals) -> int:
    """Wait for a reason to stop, and stop."""
    code = node.wait()
    signals.arm()
    if not node.stop(stop_s):
        log.error("the node did not stop within %g s", stop_s)
        return code or EXIT_FAILED
    return code or EXIT_OK


class _Signals:
    """SIGTERM and SIGINT, from before the node is made: as process 1 of a container Python would ignore them.

    The handler runs between any two steps of the main thread, which may hold any lock, so it takes none: it starts a
    thread that asks the node to stop.
    """

    def __init__(self, stop_s: float) -> None:
        self.node: RunningNode | None = None
        self._stop_s = stop_s
        self._before: dict[int, Any] = {}
        self._armed = False
        self.asked = False

    def __enter__(self) -> _Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def arm(self) -> None:
        """From now on, end the process if the stop hangs, threads that outlive it included."""
        if not self._armed:
            self._armed = True
            threading.Thread(target=self._watch, name="shoal-watchdog", daemon=True).start()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True
        threading.Thread(target=self._ask, args=(number,), name="shoal-stop", daemon=True).start()

    def _ask(self, number: int) -> None:
        log.info("%s: stopping", signal.Signals(number).name)
        self.arm()
        if self.node is not None:
            self.node.request_stop()

    def _watch(self) -> None:
        time.sleep(self._stop_s + WATCHDOG_SLACK_S)
        log.error("not stopped after %g s: ending the process", self._stop_s + WATCHDOG_SLACK_S)
        sys.stderr.flush()
        os._exit(EXIT_FAILED)


def import_lazily(name: str) -> None:
    """Have ``import name`` succeed at once, and the module loaded when something of it is first used.

    importlib's own LazyLoader loads at the next ``import``, which looks at the module's ``__spec__``.
    """
    if name in sys.modules:
        return
    stand_in = ModuleType(name)

    def load(attribute: str) -> object:
        if attribute.startswith("__"):  # the import system looks, and uses nothing
            raise AttributeError(f"{name} is not loaded, and has no {attribute} yet")
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__dict__["__getattr__"] = load
    sys.modules[name] = stand_in


def main(make: MakeNode | None = None) -> None:
    """Entry point of ``run-node``.  ``make``: what to run instead of the real node, for tests."""
    # sqlite-utils imports numpy where it finds it, 8 MiB of a process that has no use for it; None keeps it out.
    sys.modules.setdefault("numpy", cast(ModuleType, None))
    for name in LAZY:
        import_lazily(name)
    faulthandler.enable()  # a fault in C leaves a word on standard error: which thread was where
    cli(prog_name="run-node", obj=make)


if __name__ == "__main__":
    main()
