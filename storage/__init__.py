"""The shelves: blocks in memory and on disk, and the IPLD formats that files are made of."""
