"""Web pages stay out; programs come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.runtime.http.guard import host_of, is_loopback, origin_of, refusal

OWN = {"host": "127.0.0.1:5001"}
BROWSER = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}

ALLOWED = [
    OWN,
    {**OWN, "user-agent": "curl/8.0"},
    {**OWN, "origin": "http://127.0.0.1:5001", **BROWSER},
    {**OWN, "referer": "http://127.0.0.1:5001/webui", **BROWSER},
    {"host": "localhost:5001", "origin": "http://localhost:5001", **BROWSER},
    {"host": "[::1]:5001"},
    {"host": "node.localhost:5001"},
    {"host": "allowed.example:5001"},
    {**OWN, "origin": "https://good.example", **BROWSER},
    {**OWN, "referer": "https://good.example/page?x=1"},
]
REFUSED = [
    {**OWN, "origin": "https://evil.example"},
    {**OWN, "origin": "null"},
    {**OWN, "referer": "https://evil.example/page"},
    {**OWN, "origin": "https://good.example", "referer": "https://evil.example/"},
    {**OWN, "origin": "http://127.0.0.1:9999"},  # another program's page on this machine
    {**OWN, "origin": "https://good.example.evil.example"},
    {**OWN, **BROWSER},
    {"host": "evil.example:5001"},  # DNS rebinding
    {"host": "127.0.0.1.evil.example:5001"},
    {"host": "localhost.evil.example"},
    {"host": ""},
    {},
    {**OWN, "referer": "http://["},
]


def judge(headers: dict[str, str], method: str = "POST", loopback: bool = True) -> str:
    return refusal(method, headers, loopback=loopback, origins=["https://good.example"], hosts=["allowed.example"])


@pytest.mark.parametrize("headers", ALLOWED, ids=str)
def test_allowed(headers: dict[str, str]) -> None:
    assert judge(headers) == ""


@pytest.mark.parametrize("headers", REFUSED, ids=str)
def test_refused(headers: dict[str, str]) -> None:
    assert judge(headers)


def test_a_page_may_not_pass_its_rebound_name_off_as_the_nodes_own_address() -> None:
    rebound = {"host": "evil.example:5001", "origin": "http://evil.example:5001", **BROWSER}
    assert judge(rebound)
    assert judge(rebound, loopback=False)


def test_on_an_address_that_is_not_loopback_any_host_name_will_do() -> None:
    assert judge({"host": "shoal.example:5001"}, loopback=False) == ""


def test_a_browser_may_look_at_what_only_reads() -> None:
    assert judge({**OWN, **BROWSER}, "GET") == ""


def test_a_star_lets_every_page_in() -> None:
    assert refusal("POST", {**OWN, "origin": "https://any.example"}, loopback=True, origins=["*"]) == ""


@given(
    st.dictionaries(st.sampled_from(["host", "origin", "referer", "user-agent"]), st.text(max_size=40)), st.booleans()
)
def test_any_headers_are_judged(headers: dict[str, str], loopback: bool) -> None:
    why = judge(headers, loopback=loopback)
    origin = headers.get("origin")
    if not why and origin:
        own = f"http://{headers.get('host', '')}" if is_loopback(host_of(headers.get("host", ""))) else None
        assert origin in ("https://good.example", own)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example/x/y", "https://a.example"),
        ("https://user@a.example:1/", "https://user@a.example:1"),
        ("nonsense", "nonsense"),
    ],
)
def test_origin_of_a_url(url: str, origin: str) -> None:
    assert origin_of(url) == origin
