"""Every want of this node and, for show, of its peers: who asks, how urgently, and until when."""
