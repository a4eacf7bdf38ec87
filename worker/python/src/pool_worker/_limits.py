"""The numbers of the protocol, version 1."""

from __future__ import annotations

PROTOCOL_VERSION = 1

MAX_HELLO = 65536
"""Bytes in the body of the hello: until its welcome a worker is a stranger to its master."""

MAX_BODY = 1 << 30
"""Bytes in the body of any later frame."""

MAX_ENVELOPE_LEVELS = 16
MAX_PAYLOAD_LEVELS = 512

MAX_TEXT = 1 << 20
"""Bytes of each text of a failure, and of its pickled exception. More than that is for nobody to
read, and all of them together have to fit a frame."""

MAX_NOTE = 1 << 16
"""Bytes of a note about progress."""

PROGRESS_INTERVAL = 0.05
"""Seconds between two reports of progress about one item; what comes in between is dropped."""

EXIT_NORMAL = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PROTOCOL = 76
