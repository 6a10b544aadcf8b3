"""The storage actors by themselves: a locked folder and a machine without a network.

What ``TieredCacheManager`` runs when no node was given it.  Everything that a node promises about its blocks holds
here too, since the actors and the stores are the same; a damaged block is set aside and not fetched anew.
"""

from __future__ import annotations

import atexit
import logging
from pathlib import Path
from typing import Final

import msgspec

from shoal.messages.errors import Unavailable
from shoal.messages.policy import WORKER, Policy
from shoal.runtime.children import CRASH_FOLDER, Shelves, storage_specs
from shoal.runtime.machine import Machine
from shoal.storage.repo import Repo

START_S: Final = 30.0  # seconds for all five actors to serve; opening a large store after a crash takes a few
STOP_S: Final = 8.0  # seconds for them to end

OFFLINE: Final = msgspec.structs.replace(
    WORKER, accept_inbound=False, serve_blocks=False, serve_users=False, fetch_blocks=False
)
"""The policy that the manager's values are applied to: nobody is served, and nothing is fetched."""

log = logging.getLogger(__name__)


class StorageMachine:
    """The tiers of one folder.  Started by ``start``; ended by ``stop``, or else when the interpreter ends."""

    def __init__(self, repo: Repo, machine: Machine) -> None:
        """Used by ``start``."""
        self._repo = repo
        self._machine = machine
        atexit.register(self.stop)

    @classmethod
    def start(cls, path: Path, policy: Policy) -> StorageMachine:
        """Lock the folder, which is made when it is missing, and run the actors.

        Raises RepoBusy when it is in use, BadConfig, StorageFull or StorageFault when it cannot be used; then it is
        let go of again.
        """
        repo = Repo.open(path)
        machine: Machine | None = None
        try:
            shelves = Shelves(repo.blocks_path, repo.cold_path, repo.catalog_path)
            machine = Machine(
                storage_specs(shelves, policy),
                policy,
                on_giveup=lambda reason: log.error("the tiers of %s gave up: %s", path, reason),
                roles=lambda _: policy,
                name="tiers",
                crash_dir=repo.path / CRASH_FOLDER,
            )
            machine.start(START_S)
        except BaseException:
            if machine is not None:  # an interrupt leaves it half-way
                machine.stop(STOP_S)
            repo.close()
            raise
        return cls(repo, machine)

    @property
    def machine(self) -> Machine:
        """The actors."""
        return self._machine

    def check(self) -> None:
        """Raise Unavailable when they gave up: restarts no longer helped."""
        reason = self._machine.give_up_reason
        if reason:
            raise Unavailable(f"the tiers gave up: {reason}", "see the log; close the manager and make a new one")

    def release(self) -> Repo:
        """End the actors in order; the folder, which stays locked."""
        atexit.unregister(self.stop)
        if not self._machine.stop(STOP_S):
            log.warning("some of the tiers' actors did not end in time")
        return self._repo

    def stop(self) -> None:
        """End the actors in order, and let go of the folder.  Twice is once."""
        self.release().close()
