"""Fixtures and habits that every test shares."""

import itertools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from shoal.tests.support import kubo as kubo_support
from shoal.tests.support import namespaces
from shoal.tests.support.kubo import Kubo, KuboFactory, KuboOptions
from shoal.tests.support.namespaces import Host, Lan, LanFactory
from shoal.tests.support.shoal import Shoal, ShoalFactory

STATIC_CHECKS_FAILED = "SHOAL_STATIC_CHECKS_FAILED"
"""Set by bin/test to the names of the static checks that failed before pytest began."""

THREAD_END_S = 5.0
"""Seconds for a thread that is just ending."""

# A loaded machine makes any example slow, so no example is judged by the clock.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True)
hypothesis.settings.register_profile("thorough", deadline=None, print_blob=True, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


@pytest.fixture(scope="session")
def kubo_available() -> None:
    """Skips the test where no Kubo can run; in CI it fails."""
    reason = kubo_support.why_unavailable()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(f"interop tests must run in CI: {reason}")
        pytest.skip(f"NOT TESTED AGAINST KUBO: {reason}")


@pytest.fixture
def kubo(kubo_available: None, tmp_path: Path) -> Iterator[KuboFactory]:
    """A factory: ``kubo(security="tls", quic=False)`` starts a real Kubo with those ``KuboOptions``.

    Each has a repo of its own, or the one given as ``repo=``; with ``host=`` it runs in that namespace and listens on
    its address.  All are killed when the test ends.
    """
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(*, repo: Path | None = None, host: Host | None = None, **options: Any) -> Kubo:
            folder = repo or tmp_path / f"kubo-{next(numbers)}"
            if host is not None:
                options.setdefault("address", host.address)
            return stack.enter_context(Kubo.start(folder, KuboOptions(**options), host=host))

        yield start


@pytest.fixture
def shoal(tmp_path: Path) -> Iterator[ShoalFactory]:
    """A factory: ``shoal(role="leecher")`` runs ``bin/run-node`` with those arguments of ``Shoal.start``.

    Each has a repo of its own, or the one given as ``repo=``.  All are killed when the test ends.
    """
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(*, repo: Path | None = None, **arguments: Any) -> Shoal:
            return stack.enter_context(Shoal.start(repo or tmp_path / f"shoal-{next(numbers)}", **arguments))

        yield start


@pytest.fixture(scope="session")
def namespaces_available() -> None:
    """Skips the test where no network namespaces can be made; in CI it fails."""
    reason = namespaces.why_unavailable()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(f"tests in network namespaces must run in CI: {reason}")
        pytest.skip(f"NOT TESTED ON A NETWORK OF ITS OWN: {reason}")


@pytest.fixture
def lan(namespaces_available: None) -> Iterator[LanFactory]:
    """A factory: ``lan("10.77.0.1", "8.8.4.20")`` makes a LAN of its own with a host for each address.

    All that runs on it is killed, and it is removed, when the test ends.
    """
    with ExitStack() as stack:
        yield lambda *addresses, **options: stack.enter_context(Lan.of(*addresses, **options))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if (os.environ.get(STATIC_CHECKS_FAILED) or _left_over()) and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    failed = os.environ.get(STATIC_CHECKS_FAILED)
    if failed:
        terminalreporter.section("static checks", red=True)
        terminalreporter.line(f"FAILED before the tests began (see the top of the output): {failed}", red=True)
    if left := _left_over():
        terminalreporter.section("threads", red=True)
        terminalreporter.line(f"FAILED: left running, would keep the process from ending: {', '.join(left)}", red=True)


def pytest_unconfigure() -> None:
    """Python waits for threads at its end; one that a test left behind is a failure above, not a hang."""
    if _left_over():
        sys.stdout.flush()
        os._exit(pytest.ExitCode.TESTS_FAILED)


def _left_over() -> list[str]:
    main = threading.main_thread()
    others = [thread for thread in threading.enumerate() if thread is not main and not thread.daemon]
    for thread in others:
        thread.join(THREAD_END_S)
    return [thread.name for thread in others if thread.is_alive()]
