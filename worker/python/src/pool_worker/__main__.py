"""`python -m pool_worker` is `worker-python`."""

from ._command_line import main

main()
