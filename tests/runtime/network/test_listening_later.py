"""Addresses that are listened on while the network runs: the good ones are, the bad ones are logged."""

from types import SimpleNamespace

import pytest
import trio


def test_what_can_be_listened_on_is_and_the_rest_is_logged(
    lab: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with lab.running(lab.Config(), lab.Config()) as (a, b), trio.open_nursery() as nursery:
            late = lab.Node(lab.Config())
            late.network.bind(nursery)
            late.network.start(late.events, [])
            await late.network.ready()
            assert late.network.listen_addrs() == ()
            taken = a.network.listen_addrs()[0]
            late.network.listen([taken, "/ip4/203.0.113.7/tcp/0", "/nonsense", "/ip4/127.0.0.1/tcp/0"])
            with trio.fail_after(10):
                while not late.network.listen_addrs():
                    await trio.sleep(0.01)
            assert len(late.network.listen_addrs()) == 1
            await b.connect(late)
            late.network.stop()
            await late.network.stopped()

    lab.run(body)
    errors = [record.getMessage() for record in caplog.records if record.name.startswith("shoal.runtime.network")]
    assert len(errors) == 3
    for text in ("is in use", "no such address", "cannot listen on '/nonsense'"):
        assert any(text in error for error in errors), errors
