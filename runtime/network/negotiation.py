"""multistream-select 1.0.0 with bounds, for connections and streams, on both sides.

Source: libp2p connections spec, multistream-select.  py-libp2p's own reads a line of any announced length, lets
text that is not UTF-8 escape as an exception that ends the host, and takes two round trips where one will do.
These classes replace its two ends: a line is at most 1 KiB, a stream may propose 64 protocols, ``ls`` is
answered "na" as go-libp2p does, and the first proposal travels with the header.
"""

from collections.abc import Container, Sequence
from typing import Any, Final, Protocol

import trio
from libp2p.abc import IMultiselectCommunicator
from libp2p.custom_types import StreamHandlerFn, TProtocol
from libp2p.io.abc import ReadWriteCloser
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError, ProtocolNotSupportedError
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator

from shoal.messages import varint
from shoal.messages.errors import RemoteError
from shoal.messages.limits import NEGOTIATION_LINE_MAX, NEGOTIATION_TRIES_MAX

HEADER: Final = "/multistream/1.0.0"
REFUSED: Final = "na"


class Duplex(Protocol):
    """What negotiation needs of a connection or a stream."""

    async def read(self, n: int | None = None) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


def line(text: str) -> bytes:
    """``text`` as one multistream-select line."""
    body = text.encode() + b"\n"
    return varint.encode(len(body)) + body


async def read_line(stream: Duplex) -> str:
    """The next line without its newline.  Raises RemoteError; what the stream raises passes through."""
    prefix = b""
    while not prefix or prefix[-1] >= 0x80:
        prefix += await _exactly(stream, 1)
        if len(prefix) > 2:
            raise RemoteError("a negotiation line announces more than 16 KiB", "negotiation")
    length, _ = varint.decode(prefix)
    if not 0 < length <= NEGOTIATION_LINE_MAX.value:
        raise RemoteError(f"a negotiation line of {length} bytes, at most {NEGOTIATION_LINE_MAX.value}", "negotiation")
    body = await _exactly(stream, length)
    if not body.endswith(b"\n"):
        raise RemoteError("a negotiation line without its newline", "negotiation")
    try:
        return body[:-1].decode()
    except UnicodeDecodeError:
        raise RemoteError("a negotiation line is not UTF-8", "negotiation") from None


async def _exactly(stream: Duplex, size: int) -> bytes:
    data = await stream.read(size)
    while len(data) < size:
        more = await stream.read(size - len(data))
        if not more:
            raise RemoteError("the peer ended the stream while negotiating", "negotiation")
        data += more
    return data


async def propose(stream: Duplex, protocols: Sequence[str]) -> str:
    """Ask for ``protocols`` in order; the first that the peer takes.

    Raises RemoteError, with the code "unsupported" when it takes none.
    """
    await stream.write(line(HEADER) + line(protocols[0]))
    if await read_line(stream) != HEADER:
        raise RemoteError("the peer does not speak multistream-select 1.0.0", "negotiation")
    for index, protocol in enumerate(protocols):
        if index:
            await stream.write(line(protocol))
        answer = await read_line(stream)
        if answer == protocol:
            return protocol
        if answer != REFUSED:
            raise RemoteError("the peer answered a proposal with neither it nor na", "negotiation")
    raise RemoteError(f"the peer speaks none of {', '.join(protocols)}", "unsupported")


async def choose(stream: Duplex, known: Container[Any]) -> str:
    """Answer the peer's proposals until one is in ``known``.

    Raises RemoteError.  A write that fails is no reason to stop: over QUIC, Kubo sends its proposal and its
    message, and stops reading, before our answer can be written (see quic.py).
    """
    answers = _Answers(stream)
    await answers.write(HEADER)
    if await read_line(stream) != HEADER:
        raise RemoteError("the peer does not speak multistream-select 1.0.0", "negotiation")
    for _ in range(NEGOTIATION_TRIES_MAX.value):
        protocol = await read_line(stream)
        if protocol in known:
            await answers.write(protocol)
            return protocol
        await answers.write(REFUSED)
    raise RemoteError(f"the peer proposed {NEGOTIATION_TRIES_MAX.value} protocols that we do not speak", "negotiation")


class _Answers:
    """The writing side of a stream whose peer may have stopped listening."""

    def __init__(self, stream: Duplex) -> None:
        self._stream = stream
        self._deaf = False

    async def write(self, text: str) -> None:
        if self._deaf:
            return
        try:
            await self._stream.write(line(text))
        except Exception:  # whatever the transport raises: if the peer is gone, the next read says so
            self._deaf = True


class BoundedMultiselect(Multiselect):
    """py-libp2p's answering side, on ``choose``."""

    async def negotiate(
        self, communicator: IMultiselectCommunicator, negotiate_timeout: float = 10.0
    ) -> tuple[TProtocol | None, StreamHandlerFn | None]:
        """Raises MultiselectError, as the callers within py-libp2p expect."""
        try:
            with trio.fail_after(negotiate_timeout):
                protocol = TProtocol(await choose(_duplex(communicator), self.handlers))
        except trio.TooSlowError:
            raise MultiselectError("no protocol was agreed in time") from None
        except RemoteError as fault:
            raise MultiselectError(str(fault)) from fault
        return protocol, self.handlers[protocol]


class BoundedMultiselectClient(MultiselectClient):
    """py-libp2p's asking side, on ``propose``."""

    async def select_one_of(
        self, protocols: Sequence[TProtocol], communicator: IMultiselectCommunicator, negotiate_timeout: float = 10.0
    ) -> TProtocol:
        """Raises MultiselectClientError, as the callers within py-libp2p expect."""
        try:
            with trio.fail_after(negotiate_timeout):
                return TProtocol(await propose(_duplex(communicator), protocols))
        except trio.TooSlowError:
            raise MultiselectClientError("no protocol was agreed in time") from None
        except RemoteError as fault:
            kind = ProtocolNotSupportedError if fault.code == "unsupported" else MultiselectClientError
            raise kind(str(fault)) from fault


def _duplex(communicator: IMultiselectCommunicator) -> ReadWriteCloser:
    if not isinstance(communicator, MultiselectCommunicator):
        raise TypeError(f"a {type(communicator).__name__} has no stream to read bounded lines from")
    return communicator.read_writer
