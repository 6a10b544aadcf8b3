"""Who acts: one folder an actor; ``actor.py`` is its shell, the files beside it its pure core."""
