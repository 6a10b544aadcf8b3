"""What the provide sweep costs: ``python -m shoal.tests.actors.dht.sweep_measure [KEYS [PEERS]]``.

Prints, for lookups that find the true nearest and for ones that pass some over: lookups, ADD_PROVIDER messages, the
share of records among the true 20 nearest, and the processor's time.  Not a test; one asserts less of it.
"""

import random
import sys
import time

from shoal.tests.actors.dht.sweep_network import Network, Telling, keys_of, peers_of, share_of_true


def main() -> None:
    key_count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    peer_count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    for missed in (0.0, 0.02, 0.05):
        rng = random.Random(1)
        network = Network(peers_of(peer_count, rng), rng, missed)
        keys = keys_of(key_count, rng)
        telling = Telling(network)
        began = time.thread_time()
        telling.sweep.begin(keys)
        network.run()
        seconds = time.thread_time() - began
        share = share_of_true(network, rng.sample(keys, min(5_000, key_count)))
        print(
            f"{key_count} keys, {peer_count} peers, {missed:.0%} passed over: {network.lookups} lookups,"
            f" {network.sends} ADD_PROVIDER, {share:.2%} among the true 20, {seconds:.1f} s of processor"
        )


if __name__ == "__main__":
    main()
