"""The placement actor: which tier a block belongs in, and the path by which an asked-for block is found."""
