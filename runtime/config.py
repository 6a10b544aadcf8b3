"""The node's configuration: a TOML file, SHOAL_* variables and flags, made into one checked, frozen struct.

Nothing is started here.  Begin at ``load``; ``settings.SETTINGS`` is the table of what may be set.  Later places win:
defaults, file, environment, flags.

Every fault is a BadConfig (exit code 78) that names the place, the key, the value and what would do.  A key that does
not exist is refused, with the nearest one that does; so is a SHOAL_* variable that looks like a misspelled one, but
not every unknown variable, because orchestrators set some of their own (Kubernetes: SHOAL_SERVICE_HOST, SHOAL_PORT).
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from shoal.messages.errors import BadConfig
from shoal.messages.limits import MIB
from shoal.messages.policy import POLICIES, Policy
from shoal.runtime import settings
from shoal.runtime.network.config import Wire
from shoal.runtime.settings import SETTINGS, SOURCES, Given, Timeouts

FILE_NAME: Final = "config.toml"  # in the repo, unless another file is named
FILE_BYTES_MAX: Final = 1024 * 1024  # a configuration is some hundred lines
ENV: Final = "SHOAL_"
# Read by bin/, by the client, or set by an orchestrator for a service of this name.
FOREIGN: Final = ("SHOAL_PYTHON", "SHOAL_STATIC_CHECKS_FAILED", "SHOAL_CONFIG")
FOREIGN_PREFIXES: Final = ("SHOAL_PORT", "SHOAL_SERVICE_")
NEAR: Final = 0.75  # difflib's ratio from which a name counts as a misspelling of another


class Config(msgspec.Struct, frozen=True):
    """Everything that the user decides.  Made by ``load`` (checked) or, in tests, by keyword."""

    repo: str
    role: str = "worker"
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/4001",)  # Kubo's port
    api: str = "127.0.0.1:5001"  # Kubo's address; port 0: any free one
    api_origins: tuple[str, ...] = ()  # of web pages that may use the API
    api_hosts: tuple[str, ...] = ()  # further names for an API on loopback
    offline: bool = False
    peers: tuple[str, ...] = ()  # to stay connected to; each ends in /p2p/ID
    sources: tuple[str, ...] = SOURCES  # ways to find peers and providers
    bootstrap: tuple[str, ...] = ("default",)  # who is dialled to get into the network; "default": IPFS's public ones
    dns_server: str = ""  # IP:PORT that names in addresses are asked of; empty: the system's
    delegated: tuple[str, ...] = ()  # URLs of HTTP routing servers, /routing/v1
    gateways: tuple[str, ...] = ()  # URLs of trustless gateways that blocks may be fetched from
    routing_server: bool = False  # answer /routing/v1 on the API's address: search for others
    gateway_server: bool = False  # answer /ipfs/CID?format=raw there: give out blocks that are here
    wire: Wire = "shoal"  # whose Noise sessions and yamux: shoal's own, or py-libp2p's ("stock")
    cold_url: str = ""  # of an object store for the cold tier's segments, such as s3://bucket/prefix
    cold_segment_bytes: int = 64 * MIB  # of one segment of the cold tier
    cold_level: int = 3  # zstd's, 1 (fast) to 19 (small)
    log_level: str = "info"
    log_format: str = "text"
    overrides: dict[str, bool | int | float | str] = {}  # fields of the policy, whatever the role
    timeouts: Timeouts = Timeouts()

    @property
    def policy(self) -> Policy:
        """The policy to start under."""
        return self.policy_for(self.role)

    @property
    def dns_address(self) -> tuple[str, int] | None:
        """Where the DNS is asked; None: where the system says."""
        return split_address(self.dns_server) if self.dns_server else None

    def policy_for(self, role: str) -> Policy:
        """A role's policy with the user's overrides.  Raises BadConfig when the two do not go together."""
        if role not in POLICIES:
            raise BadConfig(f"unknown role {role!r}", f"use one of {', '.join(POLICIES)}")
        policy = msgspec.structs.replace(POLICIES[role], **self.overrides)
        low, high, most = policy.connections_low, policy.connections_high, policy.connections_max
        if not low <= high <= most:
            raise BadConfig(
                f"policy of role {role}: connections_low={low}, connections_high={high}, connections_max={most}",
                "set them so that low <= high <= max",
            )
        return policy


def default_repo(env: Mapping[str, str]) -> str:
    """Where the repo is when nobody says: ~/.shoal."""
    return str(Path(env.get("HOME") or Path.home()) / ".shoal")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [HOST]:PORT or http://HOST:PORT.  Raises BadConfig."""
    return settings.split_address(address)


def load(
    flags: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
    config_file: str | None = None,
) -> Config:
    """The configuration.

    ``flags``: values by setting name, None where a flag was not given.  ``config_file``: the file that must be read;
    without it SHOAL_CONFIG, or config.toml in the repo where there is one.  Raises BadConfig for every fault.
    """
    env = os.environ if env is None else env
    from_flags = settings.check_all(
        ((name, Given(value, settings.flag_name(name), "flags")) for name, value in flags.items() if value is not None)
    )
    from_env = settings.check_all(_from_env(env))
    named = config_file or env.get("SHOAL_CONFIG")
    repo = from_flags.get("repo") or from_env.get("repo")
    path = Path(named) if named else Path(repo or default_repo(env)) / FILE_NAME
    from_file = settings.check_all(_from_file(path, required=named is not None))
    if not named and "repo" in from_file:
        raise BadConfig(f"{path}: repo = {from_file['repo']!r} in the repo's own file", "take it out, or give --repo")
    merged = {"repo": default_repo(env), **from_file, **from_env, **from_flags}
    return _assemble(merged)


def _assemble(values: Mapping[str, Any]) -> Config:
    """The struct from checked values by setting name."""
    plain: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {"policy": {}, "timeouts": {}}
    for name, value in values.items():
        table, _, key = name.rpartition(".")
        (tables[table] if table else plain)[key] = value
    config = Config(**plain, overrides=tables["policy"], timeouts=Timeouts(**tables["timeouts"]))
    for role in POLICIES:  # any of them may be asked for later
        config.policy_for(role)
    return config


def _from_env(env: Mapping[str, str]) -> Iterable[tuple[str, Given]]:
    """Settings in the environment."""
    spelled = {settings.variable(name): name for name in SETTINGS}
    for variable, value in env.items():
        if not variable.startswith(ENV) or variable in FOREIGN:
            continue
        if variable in spelled:
            yield spelled[variable], Given(value, variable, "environment")
        elif not variable.startswith(FOREIGN_PREFIXES):
            near = difflib.get_close_matches(variable, spelled, 1, NEAR)
            if near:
                raise BadConfig(f"environment: {variable} is not a setting", f"did you mean {near[0]}?")


def _from_file(path: Path, required: bool) -> Iterable[tuple[str, Given]]:
    """Settings in a TOML file."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise BadConfig(f"{path} is larger than {FILE_BYTES_MAX} bytes", "name a configuration file")
        content = tomllib.loads(text.decode())
    except FileNotFoundError:
        if required:
            raise BadConfig(f"there is no file {path}", "name one that exists with --config") from None
        return
    except OSError as fault:
        raise BadConfig(f"cannot read {path}: {fault.strerror}", "make it readable, or name another") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadConfig(f"{path} is not TOML: {fault}", "correct that line") from None
    for key, value in content.items():
        if key in settings.TABLES and isinstance(value, dict):
            for inner, inner_value in value.items():
                yield _known(path, f"{key}.{inner}"), Given(inner_value, f"{key}.{inner}", str(path))
        else:
            yield _known(path, key), Given(value, key, str(path))


def _known(path: Path, key: str) -> str:
    """``key`` when it is a setting; else BadConfig with the nearest that is."""
    if key in SETTINGS:
        return key
    near = difflib.get_close_matches(key, SETTINGS, 1, NEAR - 0.15)
    remedy = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(SETTINGS))}"
    raise BadConfig(f"{path}: unknown key {key!r}", remedy)
