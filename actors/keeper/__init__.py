"""The keeper: which blocks stay, in which tier, and whether they are still what their names say."""
