"""The connection to the master: frames in, frames out."""

from __future__ import annotations

import errno
import socket
from typing import Iterator, Optional, Tuple, Union

from ._errors import Leave, Malformed
from ._limits import EXIT_NORMAL, MAX_BODY

_LENGTH = 4

_CAPACITY = 1 << 18
"""Bytes of the buffer at first: what a socket holds at once on most systems."""

_KEEP_CAPACITY = 1 << 25
"""Bytes of a buffer that is kept once it is empty. Memory that was used before is much faster than
fresh memory, but a single frame can be very large."""

_READ_AHEAD = 1 << 22
"""Bytes that are read ahead while an item runs. A master that wants to be heard then keeps less
than that under way."""


_GONE = (
    errno.EPIPE,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.EBADF,
)
"""What the system says when the other end is gone, or this one was closed."""


def _leave_at(error: OSError) -> BaseException:
    """What an error of the socket comes to: `Leave`, or the error itself if it says something else,
    as one of a handler of signals of the user's does."""
    return Leave(EXIT_NORMAL) if error.errno in _GONE else error


class Connection:
    """Frames over one socket.

    The bytes that have come lie in `buffer`, from `start`, where the next frame begins, to `end`.
    Frames are handed out as ranges of it, which hold until the next one is asked for.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.buffer = bytearray(_CAPACITY)
        self.view = memoryview(self.buffer)
        self.start = 0
        self._end = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def next_body(self) -> Optional[Tuple[int, int]]:
        """Waits for a frame, and gives where in `buffer` its body begins and ends.

        `None` at the end of the stream. Raises `Malformed` for a length that may not be, and for an
        end inside of a frame.
        """
        while True:
            received = self._end - self.start
            needed = _LENGTH
            if received >= _LENGTH:
                body = self.start + _LENGTH
                length = int.from_bytes(self.buffer[self.start : body], "big")
                if not 0 < length <= MAX_BODY:
                    raise Malformed(
                        f"expected a frame with a body of 1 to {MAX_BODY} bytes; "
                        f"came the length {length}"
                    )
                needed += length
                if received >= needed:
                    self.start = body + length
                    return body, self.start
            if received == 0:
                self._start_over()
            if not self._receive(needed):
                if received:
                    raise Malformed(
                        f"expected a frame of {needed} bytes or more; "
                        f"came the end of the stream after {received}"
                    )
                return None

    def bodies_ahead(self, offset: int = 0) -> Iterator[Tuple[int, int]]:
        """Gives where the bodies are of the complete frames that have come and wait for their turn,
        but for those in the first `offset` bytes."""
        at = self.start + offset
        while self._end - at >= _LENGTH:
            body = at + _LENGTH
            length = int.from_bytes(self.buffer[at:body], "big")
            at = body + length
            if at > self._end:
                return
            yield body, at

    def read_ahead(self) -> bool:
        """Takes what the socket holds, without waiting. Gives whether the stream goes on."""
        while self._end - self.start < _READ_AHEAD:
            try:
                received = self._receive(self._end - self.start + 1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            if not received:
                return False
            if self._end < len(self.buffer):
                return True
        return True

    def send(self, frame: bytes) -> None:
        """Writes a frame in full. Raises `Leave` if there is nobody to read it any more."""
        try:
            self._socket.sendall(frame)
        except OSError as error:
            raise _leave_at(error) from None

    def send_in_parts(self, head: bytes, body: Union[bytes, bytearray]) -> None:
        """Writes a frame in full, which lies in two pieces of memory."""
        try:
            sent = self._socket.sendmsg((head, body))
            if sent < len(head):
                self._socket.sendall(head[sent:])
                sent = len(head)
            if sent < len(head) + len(body):
                self._socket.sendall(memoryview(body)[sent - len(head) :])
        except OSError as error:
            raise _leave_at(error) from None

    def _receive(self, needed: int, flags: int = 0) -> int:
        """Reads some bytes towards the `needed` ones from `start`; 0 at the end of the stream."""
        self._make_room(needed)
        room = self.view[self._end :] if self._end else self.view
        try:
            count = self._socket.recv_into(room, 0, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno == errno.ECONNRESET:
                # The other end is gone, with bytes of this one unread.
                return 0
            raise _leave_at(error) from None
        self._end += count
        return count

    def _make_room(self, needed: int) -> None:
        capacity = len(self.buffer)
        if self.start + needed <= capacity:
            return
        if self.start:
            received = self._end - self.start
            self.buffer[:received] = self.buffer[self.start : self._end]
            self.start, self._end = 0, received
        # It grows with what has come, not with the length that was claimed.
        if self._end == capacity:
            self._replace(bytearray(min(max(needed, capacity + _CAPACITY), 2 * capacity)))

    def _start_over(self) -> None:
        self.start = self._end = 0
        if len(self.buffer) > _KEEP_CAPACITY:
            self._replace(bytearray(_CAPACITY))

    def _replace(self, buffer: bytearray) -> None:
        buffer[: self._end] = self.view[: self._end]
        self.buffer = buffer
        self.view = memoryview(buffer)
