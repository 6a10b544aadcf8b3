"""The configuration: which place wins, what each fault says, and that nothing but BadConfig comes out of any input."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.messages.errors import BadConfig
from shoal.messages.limits import GIB, MIB
from shoal.messages.policy import POLICIES, WORKER
from shoal.runtime.config import Config, load, split_address
from shoal.runtime.finding import PUBLIC_BOOTSTRAPPERS, bootstrappers
from shoal.runtime.settings import SETTINGS, variable

PEER = "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWEZXjE41uU4EL2gpkAQeDXYok6wghN7wwNVPF5bwkaNfS"


def read(tmp_path: Path, text: str = "", env: dict[str, str] | None = None, **flags: Any) -> Config:
    """With ``text`` in the repo's own file."""
    repo = tmp_path / "repo"
    repo.mkdir(exist_ok=True)
    (repo / "config.toml").write_text(text)
    return load(flags, {"HOME": str(tmp_path), "SHOAL_REPO": str(repo), **(env or {})})


def test_the_defaults_are_kubos_addresses_and_a_worker(tmp_path: Path) -> None:
    config = load({}, {"HOME": str(tmp_path)})
    assert config == Config(repo=f"{tmp_path}/.shoal")
    assert (config.api, config.listen, config.role) == ("127.0.0.1:5001", ("/ip4/0.0.0.0/tcp/4001",), "worker")
    assert config.policy == WORKER
    assert config.timeouts.stop_s < 10


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    text = 'role = "master"\napi = "127.0.0.1:1"\nlog_level = "debug"\n'
    assert read(tmp_path, text).role == "master"
    env = {"SHOAL_ROLE": "leecher", "SHOAL_API": "127.0.0.1:2"}
    config = read(tmp_path, text, env, api="127.0.0.1:3")
    assert (config.role, config.api, config.log_level) == ("leecher", "127.0.0.1:3", "debug")


def test_everything_can_be_set_in_the_file(tmp_path: Path) -> None:
    text = f"""
        role = "leecher"
        listen = ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/udp/4001/quic-v1"]
        api = "[::1]:0"
        api_origins = ["https://example.org"]
        api_hosts = ["Node.Example"]
        offline = true
        peers = ["{PEER}"]
        delegated = ["https://router.example/", "http://[::1]:8080/below"]
        gateways = ["https://gateway.example"]
        routing_server = true
        gateway_server = true
        log_format = "json"
        [policy]
        memory_bytes = "256MiB"
        disk_bytes = 10
        serve_blocks = true
        announce = "pinned"
        connection_grace_s = 5
        [timeouts]
        request_s = 1.5
    """
    config = read(tmp_path, text)
    assert config.listen == ("/ip4/127.0.0.1/tcp/0", "/ip6/::1/udp/4001/quic-v1")
    assert (config.api, config.offline, config.peers, config.api_hosts) == ("[::1]:0", True, (PEER,), ("node.example",))
    assert config.delegated == ("https://router.example", "http://[::1]:8080/below")
    assert (config.gateways, config.routing_server, config.gateway_server) == (("https://gateway.example",), True, True)
    assert (config.policy.memory_bytes, config.policy.disk_bytes) == (256 * MIB, 10)
    assert config.policy.serve_blocks is True
    assert config.policy.announce == "pinned"
    assert config.policy.connection_grace_s == 5.0
    assert config.timeouts.request_s == 1.5


def test_whom_to_enter_the_network_by_is_a_list_the_default_or_none(tmp_path: Path) -> None:
    entrance = PEER.replace("/ip4/192.0.2.1/tcp/4001", "/dnsaddr/boot.test")
    assert read(tmp_path).bootstrap == ("default",)
    assert read(tmp_path, 'bootstrap = "none"').bootstrap == ()
    assert read(tmp_path, env={"SHOAL_BOOTSTRAP": f"default,{entrance}"}).bootstrap == ("default", entrance)
    assert bootstrappers(("default", entrance, entrance)) == (*PUBLIC_BOOTSTRAPPERS, entrance)


def test_the_dns_is_the_systems_or_the_server_that_is_named(tmp_path: Path) -> None:
    assert read(tmp_path).dns_address is None
    assert read(tmp_path, 'dns_server = "127.0.0.1:5353"').dns_address == ("127.0.0.1", 5353)
    assert read(tmp_path, env={"SHOAL_DNS_SERVER": "[::1]:53"}).dns_address == ("::1", 53)


def test_overrides_of_the_policy_outlive_a_change_of_role(tmp_path: Path) -> None:
    config = read(tmp_path, env={"SHOAL_POLICY_MEMORY_BYTES": "1 GiB"})
    for role in POLICIES:
        policy = config.policy_for(role)
        assert (policy.role, policy.memory_bytes) == (role, GIB)


def test_lists_in_the_environment_are_separated_by_commas(tmp_path: Path) -> None:
    env = {"SHOAL_LISTEN": "/ip4/127.0.0.1/tcp/1, /ip4/127.0.0.1/tcp/2,", "SHOAL_OFFLINE": "Yes"}
    config = read(tmp_path, env=env)
    assert config.listen == ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2")
    assert config.offline is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('rolle = "worker"', ["config.toml", "'rolle'", "did you mean role?"]),
        ("listne = []", ["did you mean listen?"]),
        ("xyzzy = 1", ["'xyzzy'", "known keys"]),
        ('role = "boss"', ["role", "'boss'", "master, worker, leecher"]),
        ("role = 3", ["role", "3", "master"]),
        ("[policy]\nmemory_byte = 1", ["policy.memory_byte", "did you mean policy.memory_bytes?"]),
        ('[policy]\nrole = "x"', ["policy.role"]),
        ("[policy]\nmemory_bytes = -1", ["policy.memory_bytes", "-1", "256MiB"]),
        ('[policy]\nmemory_bytes = "1 MB"', ["'1 MB'", "256MiB"]),
        ("[policy]\nserve_blocks = 1", ["policy.serve_blocks", "true or false"]),
        ('[policy]\nannounce = "some"', ["policy.announce", "'some'", "none, roots, pinned, all"]),
        ("[policy]\nannounce = true", ["policy.announce", "none, roots, pinned, all"]),
        ("[policy]\nconnections_max = 5", ["connections_max=5", "low <= high <= max"]),
        ("[policy]\nconnections_max = 1_000_000", ["connections_max", "0 to"]),
        ("[policy]\nconnection_grace_s = nan", ["connection_grace_s", "number"]),
        ("[timeouts]\nstop_s = 0", ["timeouts.stop_s", "above 0"]),
        ("[timeouts]\nstop_s = true", ["timeouts.stop_s", "number"]),
        ("policy = 3", ["'policy'"]),
        ('api = "5001"', ["api", "HOST:PORT"]),
        ('api = "127.0.0.1:99999"', ["HOST:PORT"]),
        ('listen = "x"', ["listen", "multiaddr"]),
        ('listen = ["/ip4/127.0.0.1"]', ["/ip4/127.0.0.1", "cannot be listened on"]),
        (f'listen = ["{PEER}"]', ["cannot be listened on"]),
        ('peers = ["/ip4/192.0.2.1/tcp/4001"]', ["/p2p/ID"]),
        ("peers = [1]", ["list of texts"]),
        ('bootstrap = ["/ip4/192.0.2.1/tcp/4001"]', ["bootstrap", "/p2p/ID"]),
        ('bootstrap = ["none", "default"]', ["bootstrap", "goes with no other"]),
        ('dns_server = "127.0.0.1"', ["dns_server", "HOST:PORT"]),
        ('dns_server = "localhost:53"', ["dns_server", "IP:PORT"]),
        ('api_origins = ["example.org"]', ["origin"]),
        ('api_hosts = ["a:1"]', ["host name"]),
        ('delegated = ["router.example"]', ["delegated", "URL"]),
        ('delegated = ["ftp://router.example"]', ["URL"]),
        ('delegated = ["https://me:secret@router.example"]', ["without user"]),
        ('gateways = ["https://gateway.example/?x=1"]', ["gateways", "URL"]),
        ('gateways = ["https://gätéway.example"]', ["URL"]),
        (f'gateways = ["https://{"x" * 2000}.example"]', ["URL"]),
        ("routing_server = 1", ["routing_server", "true or false"]),
        ('repo = "/elsewhere"', ["repo", "own file"]),
        ("role = ", ["not TOML"]),
        ("a" * 1_100_000, ["larger than"]),
        ("x = " + "[" * 10_000, ["not TOML"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_fault_in_the_file_names_place_key_value_and_remedy(tmp_path: Path, text: str, said: list[str]) -> None:
    with pytest.raises(BadConfig) as fault:
        read(tmp_path, text)
    for word in said:
        assert word in str(fault.value)
    assert fault.value.remedy


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"SHOAL_ROLE": "boss"}, ["environment", "SHOAL_ROLE", "'boss'", "master"]),
        ({"SHOAL_LISTN": "x"}, ["SHOAL_LISTN", "did you mean SHOAL_LISTEN?"]),
        ({"SHOAL_POLICY_MEMORY_BYTE": "1"}, ["did you mean SHOAL_POLICY_MEMORY_BYTES?"]),
        ({"SHOAL_TIMEOUTS_STOP_S": "soon"}, ["SHOAL_TIMEOUTS_STOP_S", "'soon'"]),
        ({"SHOAL_CONFIG": "/no/such/file"}, ["/no/such/file", "--config"]),
        ({"SHOAL_REPO": ""}, ["SHOAL_REPO"]),
    ],
    ids=str,
)
def test_every_fault_in_the_environment_names_the_variable(
    tmp_path: Path, env: dict[str, str], said: list[str]
) -> None:
    with pytest.raises(BadConfig) as fault:
        load({}, {"HOME": str(tmp_path), **env})
    for word in said:
        assert word in str(fault.value)


def test_variables_that_orchestrators_set_are_let_be(tmp_path: Path) -> None:
    foreign = {
        "SHOAL_PORT": "tcp://10.0.0.1:5001",
        "SHOAL_PORT_5001_TCP_ADDR": "10.0.0.1",
        "SHOAL_SERVICE_HOST": "10.0.0.1",
        "SHOAL_PYTHON": "python3.12",
        "SHOALS": "x",
    }
    assert read(tmp_path, env=foreign).role == "worker"


def test_faults_in_flags_name_the_flag(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"--log-level = 'loud'"):
        read(tmp_path, log_level="loud")
    with pytest.raises(BadConfig, match=r"--peer"):
        read(tmp_path, peers=("nonsense",))


def test_a_named_file_must_be_there_and_may_name_the_repo(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('repo = "/somewhere"')
    assert load({}, {"HOME": "/x"}, str(file)).repo == "/somewhere"
    assert load({"repo": "/flag"}, {"HOME": "/x"}, str(file)).repo == "/flag"
    with pytest.raises(BadConfig, match="there is no file"):
        load({}, {"HOME": "/x"}, str(tmp_path / "no.toml"))
    with pytest.raises(BadConfig, match="cannot read"):
        load({}, {"HOME": "/x"}, str(tmp_path))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfig, match="not TOML"):
        load({}, {"HOME": "/x"}, str(file))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(SETTINGS)), values)
def test_any_value_of_any_setting_is_used_or_refused(name: str, value: Any) -> None:
    try:
        checked = SETTINGS[name].check(value)
    except ValueError:
        return
    assert checked is not None
    assert SETTINGS[name].check(checked) == checked


@given(st.dictionaries(st.sampled_from([variable(name) for name in SETTINGS]), st.text(max_size=30), max_size=4))
def test_any_environment_is_a_configuration_or_bad_config(env: dict[str, str]) -> None:
    try:
        config = load({}, {"HOME": "/nowhere", **env})
    except BadConfig:
        return
    assert config.policy.role == config.role


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:5001", ("127.0.0.1", 5001)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
        ("http://127.0.0.1:5001/", ("127.0.0.1", 5001)),
    ],
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize("text", ["", ":", "127.0.0.1", "::1:5001", "a b:1", "x:70000", "https://x:1", "x:١"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadConfig):
        split_address(text)
