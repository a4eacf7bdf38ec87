//! Coming from Python: `multiprocessing`, method by method.
//!
//! A function is named and lives in the worker; nothing is pickled. What Python raises is an
//! `Err` of [`Error`](crate::Error) here, and names follow Python's where they make sense.
//!
//! ## `multiprocessing.Pool`
//!
//! | Python | Here | What differs |
//! |---|---|---|
//! | `Pool(processes=4)` | [`Pool::builder`]`().processes(4).build()?` | Default: the CPUs that this process may use. 0 is an error before anything starts. |
//! | `initializer=f, initargs=(a,)` | [`.initializer("f", …)`](crate::PoolBuilder::initializer) | One that fails makes every call an error with its message; Python restarts workers for ever. |
//! | `maxtasksperchild=n` | [`.max_tasks_per_child(n)`](crate::PoolBuilder::max_tasks_per_child) | Items count, not chunks: a chunk longer than what is left is split. |
//! | `context=…` | [`.worker(command)`](crate::PoolBuilder::worker) | Which executable is started. May be given several times for unlike workers. |
//! | – | [`.task_timeout(…)`](crate::PoolBuilder::task_timeout) | Stops a task that runs for too long, and replaces its worker. |
//! | `apply(f, args, kwds)` | [`Pool::apply`] | Keyword arguments: [`Arguments::keywords`](crate::Arguments::keywords). |
//! | `apply_async(f, args, kwds, callback, error_callback)` | [`Pool::apply_async`], [`Pool::apply_async_with`] | Callbacks: [`Callbacks`](crate::Callbacks). |
//! | `map(f, xs, chunksize)` | [`Pool::map`], [`Pool::map_chunked`] | All items are waited for; the error is that of the lowest index. Without a size a chunk is what takes about 2 ms, by measure, and less towards the end; Python makes four for each worker. A chunk size of 0 is an error, also for no items. |
//! | `map_async(…)` | [`Pool::map_async`], [`Pool::map_async_with`] | The callback is called for no items too. |
//! | `starmap`, `starmap_async` | [`Pool::starmap`], [`Pool::starmap_async`], [`Pool::starmap_async_with`] | |
//! | `imap(f, xs, chunksize)` | [`Pool::imap`], [`Pool::imap_with`] | Inputs are taken only so far ahead as the buffer says; Python takes them all. |
//! | `imap_unordered(…)` | [`Pool::imap_unordered`] | |
//! | `Executor.map(buffersize=n)` (3.14) | [`ImapOptions::buffer_size`](crate::ImapOptions) | 4096 by default rather than no bound. |
//! | an iterator that raises | [`Pool::try_imap_with`] | The results before it, then the error, then the end. |
//! | `close()` | [`Pool::close`] | May be called again. |
//! | `terminate()` | [`Pool::terminate`] | Every pending `get`, `next` and `wait` returns an error; in Python they wait for ever. |
//! | `join()` | [`Pool::join`], [`Pool::join_timeout`] | An error before `close` or `terminate`, as in Python. |
//! | `with Pool() as pool:` | [`PoolBuilder::scope`](crate::PoolBuilder::scope) | A scope finishes what was submitted; Python's `with` terminates. Dropping a [`Pool`] terminates it. |
//! | a worker that dies | [`Error::Lost`](crate::Error::Lost) | Costs the one task that it may have been running; Python waits for ever. |
//!
//! ## `multiprocessing.pool.AsyncResult`
//!
//! | Python | Here | What differs |
//! |---|---|---|
//! | `get()`, `get(timeout)` | [`get`](crate::ApplyResult::get), [`get_timeout`](crate::ApplyResult::get_timeout) | May be called again. A time that is over is [`Error::NotReady`](crate::Error::NotReady). |
//! | `wait()`, `wait(timeout)` | [`wait`](crate::ApplyResult::wait), [`wait_timeout`](crate::ApplyResult::wait_timeout) | |
//! | `ready()` | [`ready`](crate::ApplyResult::ready) | |
//! | `successful()` | [`successful`](crate::ApplyResult::successful) | An error while not ready, as in Python. |
//! | – | [`cancel`](crate::ApplyResult::cancel) | Also of a running task, by replacing its worker. |
//! | – | `.await` | Results are futures, for any executor. |
//! | – | [`MapResult::outcomes`](crate::MapResult::outcomes) | All results and all errors. |
//! | `IMapIterator.next(timeout)` | [`Imap::next_timeout`](crate::Imap::next_timeout) | Loses nothing. |
//!
//! ## `multiprocessing.Process`
//!
//! | Python | Here | What differs |
//! |---|---|---|
//! | `Process(target=f, args=(a,), name=…, daemon=…)` | [`Process::builder`] | The worker command comes first: it is what has the function. |
//! | `start()` | [`Process::start`] | Twice is an error. A command that cannot be executed is an error here. |
//! | `join()`, `join(timeout)` | [`Process::join`], [`Process::join_timeout`] | |
//! | `is_alive()`, `pid`, `name`, `exitcode` | [`Process::is_alive`], [`Process::pid`], [`Process::name`], [`Process::exit_code`] | |
//! | `daemon` | [`Process::is_daemon`], [`.daemon(true)`](crate::ProcessBuilder::daemon) | The drop of a handle that is no daemon joins it. All processes end with this program. |
//! | `run()`, `authkey` | – | The function lives in the worker; each process has a secret of its own. |
//! | `terminate()`, `kill()` | [`Process::terminate`], [`Process::kill`] | The whole process group is ended. |
//! | `close()` | [`Process::close`] | An error while it is alive; afterwards everything but the name is an error. |
//! | `sentinel` | [`Process::sentinel`] | |
//! | `active_children()` | [`active_children`](crate::active_children) | |
//! | – | [`Process::result`] | What the function gives. |
//!
//! [`Pool`]: crate::Pool
//! [`Pool::builder`]: crate::Pool::builder
//! [`Pool::apply`]: crate::Pool::apply
//! [`Pool::apply_async`]: crate::Pool::apply_async
//! [`Pool::apply_async_with`]: crate::Pool::apply_async_with
//! [`Pool::map`]: crate::Pool::map
//! [`Pool::map_chunked`]: crate::Pool::map_chunked
//! [`Pool::map_async`]: crate::Pool::map_async
//! [`Pool::map_async_with`]: crate::Pool::map_async_with
//! [`Pool::starmap`]: crate::Pool::starmap
//! [`Pool::starmap_async`]: crate::Pool::starmap_async
//! [`Pool::starmap_async_with`]: crate::Pool::starmap_async_with
//! [`Pool::imap`]: crate::Pool::imap
//! [`Pool::imap_with`]: crate::Pool::imap_with
//! [`Pool::try_imap_with`]: crate::Pool::try_imap_with
//! [`Pool::imap_unordered`]: crate::Pool::imap_unordered
//! [`Pool::close`]: crate::Pool::close
//! [`Pool::terminate`]: crate::Pool::terminate
//! [`Pool::join`]: crate::Pool::join
//! [`Pool::join_timeout`]: crate::Pool::join_timeout
//! [`Process::builder`]: crate::Process::builder
//! [`Process::start`]: crate::Process::start
//! [`Process::join`]: crate::Process::join
//! [`Process::join_timeout`]: crate::Process::join_timeout
//! [`Process::is_alive`]: crate::Process::is_alive
//! [`Process::pid`]: crate::Process::pid
//! [`Process::is_daemon`]: crate::Process::is_daemon
//! [`Process::name`]: crate::Process::name
//! [`Process::exit_code`]: crate::Process::exit_code
//! [`Process::terminate`]: crate::Process::terminate
//! [`Process::kill`]: crate::Process::kill
//! [`Process::close`]: crate::Process::close
//! [`Process::sentinel`]: crate::Process::sentinel
//! [`Process::result`]: crate::Process::result
