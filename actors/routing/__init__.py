"""Who has this CID, where is this peer: the search over all sources, and the book of peers that it learns from."""
