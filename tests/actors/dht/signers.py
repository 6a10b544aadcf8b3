"""Keys of the kinds that IPNS names have, for tests of records: ours is Ed25519; RSA's id is a hash."""

from functools import cache

from libp2p.crypto.keys import KeyPair
from libp2p.crypto.rsa import create_new_key_pair as rsa_pair
from libp2p.peer.id import ID

from shoal.runtime.network.identity import from_seed
from shoal.runtime.network.keys import Libp2pKeys


class PairKeys(Libp2pKeys):
    """``Libp2pKeys`` over any pair of py-libp2p's."""

    def __init__(self, pair: KeyPair) -> None:
        self._pair = pair
        self.public_key = pair.public_key.serialize()
        self.peer_id = ID.from_pubkey(pair.public_key).to_base58()


@cache
def ed25519(number: int = 0) -> Libp2pKeys:
    return Libp2pKeys(from_seed(bytes([number]) * 32).key)


@cache
def rsa() -> Libp2pKeys:
    return PairKeys(rsa_pair(2048))
