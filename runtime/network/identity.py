"""The node's identity: an Ed25519 key in a file, and the peer id that follows from it.

Source: libp2p peer-ids spec.  The file holds the protobuf-encoded private key exactly as go-libp2p writes it
(``08 01 12 40`` then 32 bytes of seed and 32 of public key), so that other tools read it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from libp2p.crypto.ed25519 import Ed25519PrivateKey, create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.peer.id import ID

from shoal.messages.errors import BadConfig, StorageFault

_PREFIX: Final = bytes.fromhex("08011240")  # KeyType Ed25519, then 64 bytes of data
_SEED_BYTES: Final = 32
_INLINED_KEY_BYTES_MAX: Final = 42  # a longer public key is hashed (peer-ids spec)
_FILE_BYTES: Final = len(_PREFIX) + 2 * _SEED_BYTES


@dataclass(frozen=True, slots=True)
class Identity:
    """``key`` is the protobuf private key (secret: never logged), ``peer_id`` its base58 peer id."""

    key: bytes
    peer_id: str

    def __repr__(self) -> str:
        return f"Identity({self.peer_id})"


def generate() -> Identity:
    """A new identity from the system's randomness."""
    return from_seed(os.urandom(_SEED_BYTES))


def from_seed(seed: bytes) -> Identity:
    """The identity of a 32-byte Ed25519 seed: the same seed gives the same peer id."""
    pair = create_new_key_pair(seed)
    return Identity(_PREFIX + seed + pair.public_key.to_bytes(), ID.from_pubkey(pair.public_key).to_base58())


def key_pair(key: bytes) -> KeyPair:
    """The key pair of a protobuf private key.  Raises BadConfig when it is not an Ed25519 key or contradicts itself."""
    if len(key) != _FILE_BYTES or not key.startswith(_PREFIX):
        raise BadConfig(
            "this is not a libp2p Ed25519 private key", "restore the key file, or delete it for a new identity"
        )
    seed, public = key[len(_PREFIX) : -_SEED_BYTES], key[-_SEED_BYTES:]
    private = Ed25519PrivateKey.from_bytes(seed)
    if private.get_public_key().to_bytes() != public:
        raise BadConfig("the two halves of the private key do not belong together", "restore the key file")
    return KeyPair(private, private.get_public_key())


def from_key(key: bytes) -> Identity:
    """The identity of a protobuf private key.  Raises BadConfig."""
    return Identity(key, ID.from_pubkey(key_pair(key).public_key).to_base58())


def parse_peer_id(text: str) -> ID:
    """The peer id that ``text`` writes in base58.  Raises ValueError: py-libp2p takes any base58 for one."""
    peer = ID.from_base58(text)
    raw = peer.to_bytes()
    inlined = raw[:1] == b"\x00" and len(raw) > 2 and raw[1] == len(raw) - 2 <= _INLINED_KEY_BYTES_MAX
    hashed = raw[:2] == b"\x12\x20" and len(raw) == 34
    if not (inlined or hashed):
        raise ValueError(f"{text[:80]!r} is no peer id")
    return peer


def load_or_create(path: Path) -> Identity:
    """The identity in the file at ``path``; made, with mode 0600 and atomically, when there is no file.

    Raises BadConfig when the file is damaged or readable by others, StorageFault when the disk refuses.
    """
    try:
        mode = path.stat().st_mode
        key = path.read_bytes()
    except FileNotFoundError:
        return _create(path)
    except OSError as fault:
        raise StorageFault(f"cannot read the key file {path}: {fault.strerror}", "check its owner and mode") from None
    if mode & 0o077:
        raise BadConfig(f"the key file {path} can be read by others", f"chmod 600 {path}")
    try:
        return from_key(key)
    except BadConfig as fault:
        raise BadConfig(f"{path}: {fault.message}", fault.remedy) from None


def _create(path: Path) -> Identity:
    identity = generate()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(identity.key)
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: of two nodes that start at once on one folder, one keeps its key and the other sees it.
        try:
            os.link(temporary, path)
        except FileExistsError:
            return load_or_create(path)
        finally:
            temporary.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as fault:
        raise StorageFault(
            f"cannot write the key file {path}: {fault.strerror}", "check that its folder is writable"
        ) from None
    return identity
