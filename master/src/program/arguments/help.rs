//! What the help says beside the options.

pub(super) const ABOUT: &str =
    "Run functions on a pool of worker processes: multiprocessing for executables";

pub(super) const AFTER: &str = "\
Examples:
  master map square 2 3 4 5
  find . -type f | master map --text sha256
  master starmap square '[10, 0.5]' '[11]'
  master apply square 5
  master run square 10 1 ::: cube 15
  master workers
  master check 'worker --conformance'

--help says more, `master VERB --help` shows the options of a verb.";

pub(super) const AFTER_LONG: &str = "\
Examples:
  master map square 2 3 4 5                   4, 9, 16 and 25, a line each
  find . -type f | master map --text sha256   a call for each line of input
  master starmap square '[10, 0.5]' '[11]'    arrays spread as arguments
  master apply square 5                       one call
  master run square 10 1 ::: cube 15          a process for each call, at once
  master workers                              the workers on PATH
  master check 'worker --conformance'         whether one keeps to the protocol
  master frames FILE                          what was recorded by --record FILE
  master replay FILE --worker A               what A answers to the same
  master compare --worker A --worker B square 2 3     where two workers differ

A worker is an executable that speaks the protocol. Unless --worker names
another it is the `worker` on PATH, or else the one beside this program.

Inputs and arguments are JSON where they parse as JSON, and otherwise strings.
Results go to standard output, a JSON value a line; everything else goes to
standard error. A task that fails does not stop the others.

Exit status (where several apply: a signal, then 3, 2, 1):
  0    every task completed, or standard output was closed early
  1    a task failed, timed out, was cancelled, or was lost with its worker; or
       results, or the recording of --record, could not be written
  2    the command line or the input cannot be read
  3    the pool cannot work: no worker, workers that do not start, a failing
       initializer, or a function that no worker has
  130  ended by SIGINT
  143  ended by SIGTERM
`master run` gives the status of what it ran: 1 for a function that failed,
128 and the signal's number for a process that a signal ended, any other for
one that exited with it; of several processes the numerically highest.

SIGINT (Ctrl-C) begins nothing more and waits for what is running; a second one
stops it, a third one kills it. SIGTERM stops it at once. While calls are made
on a pool, SIGHUP without a terminal replaces the workers by those that their
command names now, SIGUSR1 and SIGUSR2 add and take one worker, and SIGQUIT
(Ctrl-\\) tells how things stand.

Environment:
  PATH      where workers are looked for
  RUST_LOG  what to log on standard error: error, warn, info, debug or trace

`master VERB --help` shows the options of a verb.";

pub(super) const MAP: &str = "\
Examples:
  master map square 2 3 -4
  find . -type f | master map --text sha256
  seq 1000 | master map square --processes 2 --chunksize 50
  master map square --input numbers.jsonl --unordered
  find . -type f | master map --text --timeout 1m --retries 2 sha256

Blank lines of input are skipped. With --text each other line is a string as it is.
Options may stand anywhere; `--` ends them. Negative numbers need no `--`.";

pub(super) const STARMAP: &str = "\
Examples:
  master starmap square '[10, 0.5]' '[11]'
  echo '[10, 0.5]' | master starmap square

Blank lines of input are skipped. Options may stand anywhere; `--` ends them.";

pub(super) const APPLY: &str = "\
Examples:
  master apply square 5
  master apply square -5 0.5 --timeout 10s

Options may stand anywhere; `--` ends them. Negative numbers need no `--`.";

pub(super) const RUN_USAGE: &str =
    "master run [OPTIONS] FUNCTION [ARG]... [::: FUNCTION [ARG]...]...";

pub(super) const RUN_WORKER: &str = "\
The worker of all calls: a command in quotes, whose first word is a path or the name of an \
executable on PATH, with or without `worker-` before it [default: worker]";

pub(super) const RUN: &str = "\
Examples:
  master run square 10 1 ::: cube 15
  master run introduce m1 ::: introduce m2 --name first --name second

What a worker prints is passed on as it is. A result that is not null is
printed as a line of JSON when its call ends.

The exit status is that of the processes, the numerically highest of several:
0, or 1 for a function that failed, or 128 and the number of the signal.

Options may stand in any of the calls and hold for all of them; `--` ends the
options, not the calls. The argument `:::` itself is written as '\":::\"'.";

pub(super) const WORKERS: &str = "\
Each executable on PATH called `worker` or `worker-*` is started and asked,
and so is the `worker` beside this program. One that is shadowed by another of
the same name is reached by its path only.";

pub(super) const CHECK: &str = "\
Examples:
  master check 'worker --conformance'
  master check ./my-worker -k W-26,W-27
  master check ./my-worker --json
  master check --list

The worker is started again and again, each time for a short conversation. For
each requirement of the specification for workers the report says pass, fail,
not applicable (it is about an optional feature that the worker does not have)
or not tested (a conformance function is missing, or the worker ended before),
and for each failure what was expected and what came. The conformance functions
are those of section 23 of the specification; a worker may offer them under a
flag, which is then part of COMMAND.

Exit status:
  0    every required requirement passes or does not apply
  1    a required requirement fails
  2    the command line cannot be read
  3    there is no such worker, or a required requirement could not be tested";

pub(super) const FRAMES: &str = "\
Examples:
  master map --record recording square 2 3
  master frames recording
  master frames recording --errors
  master frames recording --json | jq 'select(.message == \"call\").payload'

A line has the time in seconds, the seat and the number of the worker, and
what it said (<-), was told (->), or what became of it (--). A worker is one
process, and several may have had a seat one after another.

In what is printed {\"$bin\":\"00ff\"} is binary data, and {\"$ext\":[7,\"00ff\"]} an
extension type. With --json floats are {\"$float\":\"1.5\"}, as in the vectors of
the protocol, so that every value can be told from every other.

Exit status: 0, or 2 for a file that is no recording or is damaged. What comes
before the damage is printed.";

pub(super) const COMPARE_WORKER: &str = "\
A worker to compare, twice: a command in quotes, whose first word is a path or the name of an \
executable on PATH, with or without `worker-` before it";

pub(super) const COMPARE: &str = "\
Examples:
  master compare --worker worker --worker ./new-worker square 2 3 4
  seq 100000 | master compare --worker old --worker new square --processes 2
  master compare --worker old --worker new --tolerance 1e-9 area --input shapes

Each difference is a line with the number of the input and both sides; A is the
first worker, B the second. Values are compared by what they mean: integers
whatever their form, floats of either size, maps in any order. Errors are the
same if their kind is. How many inputs were equal, and who is faster, is told on
standard error. The two work in turns, so that neither disturbs the other.

Exit status: 0 if all inputs were equal, 1 if not, 2 for the command line or the
input, 3 if the workers of one side cannot work.";

pub(super) const REPLAY: &str = "\
Examples:
  master map --record recording square 2 3 4
  master replay recording --worker ./new-worker
  master replay recording --worker new --timeout 10s --tolerance 1e-9

For each worker of the recording a new one is started and told what that one was
told, and its answers are compared with those that were recorded: values by what
they mean, errors by their kind. Each difference is a line; how many answers
were compared, and what was left out, is told on standard error. Left out is
what was never answered, what was cancelled, and what follows a missing answer.

Exit status: 0 if there was no difference, 1 if there was, 2 for the command
line, or a recording that cannot be read, 3 if the worker cannot be used.";
