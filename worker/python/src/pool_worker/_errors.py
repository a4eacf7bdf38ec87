"""What can go wrong: with an item, which has an error then, and with the connection, which ends."""

from __future__ import annotations

from typing import Optional


class Failure(Exception):
    """An error of an item whose kind is not the name of its class.

    The kind is a short name for programs, the message is for people. Without a kind it is the name
    of the class, as for any other exception.
    """

    kind: str = ""

    def __init__(self, message: str = "", kind: Optional[str] = None) -> None:
        super().__init__(message)
        self.kind = type(self).__name__ if kind is None else kind


class Cancelled(Failure):
    """The function ended early because its item was cancelled; see `is_cancelled`."""


class InvalidArguments(Failure):
    """The number or the types of the arguments do not fit the function."""


class InvalidResult(Failure):
    """The result cannot be encoded, nests too deep, or does not fit a frame."""


class UnknownFunction(Failure):
    """There is no function of that name."""


class RegistrationError(ValueError):
    """Functions cannot be offered as they are: two have the same name, or one has none."""


class Malformed(Exception):
    """The master broke the protocol. The message says what was expected and what came."""


class Rejected(Exception):
    """The master refused the worker. The message is its reason."""


class Leave(Exception):
    """Nothing is left to do: the worker exits with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
