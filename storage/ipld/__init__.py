"""IPLD and UnixFS: how files, directories and archives become blocks and back.

Pure: no file, socket or clock.  Codecs: ``dagpb``, ``dagcbor``, ``unixfs``, ``car``.  Writing: ``profile``,
``builder``, ``directory``, ``hamt``.  Reading: start with ``walk`` (how a reader asks for blocks), then ``reader``.
"""
