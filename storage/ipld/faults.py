"""What can be wrong with a request for content that is itself sound: each a LocalError with its remedy."""

from shoal.messages.errors import BadInput, NotFound


class NotAFile(BadInput):
    """A file was asked for and the CID names something else."""


class NotADirectory(BadInput):
    """A directory was asked for, or a path leads on, and the CID names something else."""


class UnknownCodec(BadInput):
    """The CID's codec is not one that shoal can look into."""


class NoSuchEntry(NotFound):
    """A path names an entry that its directory or map does not hold."""
