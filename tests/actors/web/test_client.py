"""Where redirects may lead, and how long a server asks to be left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.actors.web.client import RETRY_AFTER_MAX_S, Head, redirect
from shoal.messages.errors import RemoteError
from shoal.messages.limits import HTTP_URL_BYTES_MAX

HERE = "https://gw.example/ipfs/x?format=raw"


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        (HERE, "/other", "https://gw.example/other"),
        (HERE, "https://GW.example:443/other", "https://GW.example:443/other"),
        (HERE, "https://x.ipfs.gw.example/?format=raw", "https://x.ipfs.gw.example/?format=raw"),
        ("http://gw.example/a", "https://gw.example/a", "https://gw.example/a"),
        ("http://127.0.0.1:80/a", "/b", "http://127.0.0.1:80/b"),
        ("http://[::1]:8080/a", "//[::1]:8080/b", "http://[::1]:8080/b"),
    ],
)
def test_the_same_server_or_one_below_it(url: str, location: str, target: str) -> None:
    assert redirect(url, location) == target


@pytest.mark.parametrize(
    ("url", "location"),
    [
        (HERE, "https://elsewhere.example/"),
        (HERE, "https://notgw.example/"),
        (HERE, "https://example/"),
        (HERE, "http://gw.example/"),
        (HERE, "https://gw.example:8443/"),
        (HERE, "http://127.0.0.1:5001/api/v0/id"),
        (HERE, "http://169.254.169.254/latest/meta-data"),
        (HERE, "file:///etc/passwd"),
        (HERE, "ftp://gw.example/"),
        (HERE, "javascript:alert(1)"),
        (HERE, "https://gw.example@evil.example/"),
        (HERE, "https://[gw.example/"),
        (HERE, "https://gw.example:99999/"),
        (HERE, "/" + "x" * HTTP_URL_BYTES_MAX.value),
        (HERE, "/ä"),
        (HERE, "/a b\x00"),
        ("http://10.0.0.1/", "http://1.10.0.0.1/"),
        ("http://127.0.0.1:8080/a", "https://127.0.0.1/a"),
        ("http://gw.example:8080/a", "https://gw.example/a"),
    ],
)
def test_nowhere_else(url: str, location: str) -> None:
    with pytest.raises(RemoteError):
        redirect(url, location)


@given(st.text(max_size=60))
def test_any_location_is_a_url_of_that_server_or_a_remote_error(location: str) -> None:
    try:
        target = redirect(HERE, location)
    except RemoteError:
        return
    assert target.startswith("https://")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("999999999", RETRY_AFTER_MAX_S),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59.0),
        ("Fri, 31 Dec 1999 23:00:00 GMT", 0.0),
        ("Fri, 31 Dec 2099 23:59:59 GMT", RETRY_AFTER_MAX_S),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("9" * 400, None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert Head(429, {"retry-after": text}).retry_after(946684740.0) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_seconds_within_bounds_or_none(text: str) -> None:
    seconds = Head(429, {"retry-after": text}).retry_after(1.7e9)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_S
