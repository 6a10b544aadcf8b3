"""Keys of the kinds that IPNS names have, for tests of records: ours is Ed25519; RSA's id is a hash."""

from functools import cache

from shoal.runtime.network.identity import from_seed
from shoal.runtime.network.keys import Libp2pKeys
from shoal.tests.support.kubo_names import rsa_keys


@cache
def ed25519(number: int = 0) -> Libp2pKeys:
    return Libp2pKeys(from_seed(bytes([number]) * 32).key)


@cache
def rsa() -> Libp2pKeys:
    return rsa_keys()
