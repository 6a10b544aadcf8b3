"""The bootstrap actor: peers that the node is to stay connected to."""
