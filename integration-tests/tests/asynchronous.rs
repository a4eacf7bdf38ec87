//! Results that are not there yet: callbacks, cancelling, futures.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

use std::{
    collections::HashSet,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use integration_tests::{
    Deadline,
    library::{pool, watched},
};
use master::{Callbacks, Cancelled, Encoded, Error, Pool};

/// Callbacks that tell which of them was called.
fn telling<T: Send + 'static>(sender: &Sender<Result<T, String>>) -> Callbacks<T> {
    let (results, errors) = (sender.clone(), sender.clone());
    Callbacks::new()
        .on_result(move |value| results.send(Ok(value)).unwrap())
        .on_error(move |error| errors.send(Err(error.to_string())).unwrap())
}

#[test]
fn exactly_one_callback_is_called_before_get_returns() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let (sender, receiver) = mpsc::channel();
        let fine = pool.apply_async_with::<i64>("square", (3,), telling(&sender)).unwrap();
        assert_eq!(fine.get().unwrap(), 9);
        assert_eq!(receiver.try_recv().unwrap().unwrap(), 9);
        let failing = pool.apply_async_with::<i64>("fail", ("on purpose",), telling(&sender));
        failing.unwrap().wait();
        assert!(receiver.try_recv().unwrap().unwrap_err().contains("on purpose"));
        // A result of another type than asked for is an error as well.
        let wrong = pool.apply_async_with::<i64>("echo", ("text",), telling(&sender)).unwrap();
        wrong.get().unwrap_err();
        assert!(receiver.try_recv().unwrap().is_err());

        let (sender, receiver_of_maps) = mpsc::channel();
        let squares = pool.map_async_with("square", 0..4, Some(1), telling(&sender)).unwrap();
        squares.wait();
        assert_eq!(receiver_of_maps.try_recv().unwrap().unwrap(), [0_i64, 1, 4, 9]);
        let none: [i64; 0] = [];
        let empty = pool.map_async_with::<_, i64>("square", none, None, telling(&sender)).unwrap();
        empty.wait();
        assert!(receiver_of_maps.try_recv().unwrap().unwrap().is_empty());
        pool.close();
        pool.join().unwrap();
        assert!(receiver.try_recv().is_err() && receiver_of_maps.try_recv().is_err(), "once each");
    });
}

#[test]
fn the_error_callback_is_called_on_cancel_and_terminate() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let (sender, receiver) = mpsc::channel();
        let running = pool.apply_async_with::<Encoded>("sleep", (600,), telling(&sender)).unwrap();
        let waiting = pool.apply_async_with::<Encoded>("sleep", (600,), telling(&sender)).unwrap();
        waiting.cancel();
        waiting.wait();
        assert!(receiver.try_recv().unwrap().unwrap_err().contains("cancelled"));
        pool.terminate();
        running.wait();
        assert!(receiver.try_recv().unwrap().unwrap_err().contains("terminated"));
    });
}

#[test]
fn a_callback_that_blocks_delays_only_callbacks() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        let (entered, entering) = mpsc::channel();
        let blocking = Callbacks::new().on_result(move |_: i64| {
            entered.send(()).unwrap();
            let _ = blocked.recv();
        });
        let first = pool.apply_async_with("square", (1,), blocking).unwrap();
        entering.recv().unwrap();
        let (sender, receiver) = mpsc::channel();
        let second = pool.apply_async_with("square", (2,), telling::<i64>(&sender)).unwrap();
        // Without a callback nothing waits for one.
        assert_eq!(pool.apply::<i64>("square", (5,)).unwrap(), 25);
        assert!(!first.ready() && !second.ready() && receiver.try_recv().is_err());
        drop(release);
        assert_eq!(first.get().unwrap(), 1);
        assert_eq!(second.get().unwrap(), 4);
        assert_eq!(receiver.try_recv().unwrap().unwrap(), 4);
    });
}

#[test]
fn a_pool_survives_whatever_a_callback_does() {
    watched(|| {
        let pool = Arc::new(pool(2).build().unwrap());
        let panicking = Callbacks::new().on_result(|_: i64| panic!("on purpose"));
        assert_eq!(pool.apply_async_with("square", (2,), panicking).unwrap().get().unwrap(), 4);

        // It may submit more work, and wait for it, also where that has a callback of its own.
        let (inner, (sender, receiver)) = (Arc::clone(&pool), mpsc::channel());
        let submitting = Callbacks::new().on_result(move |square: i64| {
            let (told, _told) = mpsc::channel();
            let more = inner.apply_async_with("square", (square,), telling::<i64>(&told)).unwrap();
            sender.send(more.get().unwrap()).unwrap();
        });
        pool.apply_async_with("square", (3,), submitting).unwrap().wait();
        assert_eq!(receiver.recv().unwrap(), 81);

        // It may close, join and terminate the pool.
        let inner = Arc::clone(&pool);
        let ending = Callbacks::new().on_result(move |_: i64| {
            inner.close();
            inner.join().unwrap();
            inner.terminate();
        });
        assert_eq!(pool.apply_async_with("square", (4,), ending).unwrap().get().unwrap(), 16);
        pool.join().unwrap();
        assert!(matches!(pool.apply::<i64>("square", (1,)), Err(Error::NotRunning)));
    });
}

#[test]
fn the_last_owner_of_a_pool_may_be_a_callback() {
    watched(|| {
        let pool = Arc::new(pool(1).build().unwrap());
        let (inner, (sender, receiver)) = (Arc::clone(&pool), mpsc::channel());
        let owning = Callbacks::new().on_result(move |_: i64| {
            drop(inner);
            sender.send(()).unwrap();
        });
        let result = pool.apply_async_with("square", (4, 0.1), owning).unwrap();
        drop(pool);
        result.wait();
        receiver.recv().unwrap();
    });
}

#[test]
fn a_queued_call_is_cancelled_without_being_run() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("made");
        let running = pool.apply_async::<Encoded>("sleep", (0.3,)).unwrap();
        let queued = pool.apply_async::<Encoded>("exec", ("touch", [file.to_str().unwrap()]));
        let queued = queued.unwrap();
        queued.cancel();
        let error = queued.get().unwrap_err();
        assert!(matches!(error, Error::Cancelled(Cancelled::ByCaller)), "{error}");
        running.get().unwrap();
        assert!(!file.exists());
        running.cancel();
        running.get().expect("what has its outcome keeps it");
    });
}

#[test]
fn a_running_call_is_cancelled_by_replacing_its_worker() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let before: u32 = pool.apply("pid", ()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let started = directory.path().join("started");
        let script = format!("touch {}; sleep 600", started.display());
        let running = pool.apply_async::<Encoded>("exec", ("sh", ["-c", &script])).unwrap();
        let deadline = Deadline::after(Duration::from_secs(30));
        while !started.exists() {
            assert!(!deadline.left().is_zero(), "the call did not begin");
            deadline.pause(Duration::from_millis(5));
        }
        let next = pool.apply_async::<u32>("pid", ()).unwrap();
        running.cancel();
        running.cancel();
        let error = running.get().unwrap_err();
        assert!(matches!(error, Error::Cancelled(Cancelled::ByCaller)), "{error}");
        assert_ne!(next.get().unwrap(), before);

        let map = pool.map_async::<_, Encoded>("sleep", vec![600; 10_000], Some(1)).unwrap();
        map.cancel();
        assert!(
            map.outcomes()
                .iter()
                .all(|outcome| { matches!(outcome, Err(Error::Cancelled(Cancelled::ByCaller))) })
        );
        assert_eq!(pool.apply::<i64>("square", (3,)).unwrap(), 9);
    });
}

/// The least executor there can be: polls, and sleeps until it is woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread, AtomicU64);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.unpark();
        }
    }
    let wakes = Arc::new(Unpark(thread::current(), AtomicU64::new(0)));
    let waker = Waker::from(Arc::clone(&wakes));
    let mut future = pin!(future);
    loop {
        let seen = wakes.1.load(Ordering::SeqCst);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while wakes.1.load(Ordering::SeqCst) == seen {
            thread::park();
        }
    }
}

#[test]
fn results_are_futures() {
    async fn sum(pool: &Pool) -> Result<i64, Error> {
        let slow = pool.apply_async::<i64>("square", (3, 0.1))?;
        let squares = pool.map_async::<_, i64>("square", 0..10, None)?;
        Ok(slow.await? + squares.await?.iter().sum::<i64>())
    }
    watched(|| {
        let pool = pool(2).build().unwrap();
        assert_eq!(block_on(sum(&pool)).unwrap(), 9 + 285);
        let (sender, receiver) = mpsc::channel();
        let told = pool.apply_async_with("square", (5, 0.1), telling::<i64>(&sender)).unwrap();
        assert_eq!(block_on(told).unwrap(), 25);
        assert_eq!(receiver.try_recv().unwrap().unwrap(), 25, "the callback comes first");
        let failing = pool.apply_async::<i64>("fail", ("on purpose",)).unwrap();
        assert!(block_on(failing).unwrap_err().to_string().contains("on purpose"));
    });
}

/// The callback that it waits for could not run before its own has ended.
#[test]
fn a_callback_may_await_a_call_that_has_one_too() {
    watched(|| {
        let pool = Arc::new(pool(1).build().unwrap());
        let inner = Arc::clone(&pool);
        let (sender, receiver) = mpsc::channel();
        let awaiting = Callbacks::new().on_result(move |square: i64| {
            let note = Callbacks::<i64>::new();
            let result = inner.apply_async_with("square", (square, 0.1), note).unwrap();
            sender.send(block_on(result).unwrap()).unwrap();
        });
        pool.apply_async_with("square", (3,), awaiting).unwrap().wait();
        assert_eq!(receiver.try_recv().unwrap(), 81);
    });
}

/// As an executor may that drops its tasks.
#[test]
fn the_last_owner_of_a_pool_may_be_a_waker() {
    struct Owner(Mutex<Option<Pool>>, Mutex<Sender<()>>);
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().unwrap().take());
            self.1.lock().unwrap().send(()).unwrap();
        }
    }
    watched(|| {
        let pool = pool(1).build().unwrap();
        let (sender, receiver) = mpsc::channel();
        let mut result = pin!(pool.apply_async::<i64>("square", (3, 0.1)).unwrap());
        let owner = Arc::new(Owner(Mutex::new(Some(pool)), Mutex::new(sender)));
        let waker = Waker::from(owner);
        assert!(result.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        receiver.recv().unwrap();
        assert_eq!(result.get().unwrap(), 9);
    });
}

#[test]
fn a_scope_drains() {
    watched(|| {
        let seen = Arc::new(Mutex::new(HashSet::new()));
        let pending = pool(2)
            .scope(|pool| {
                for number in 0..20_i64 {
                    let seen = Arc::clone(&seen);
                    let note = Callbacks::new().on_result(move |square: i64| {
                        seen.lock().unwrap().insert(square);
                    });
                    drop(pool.apply_async_with("square", (number,), note).unwrap());
                }
                pool.map_async::<_, i64>("square", 0..10, None).unwrap()
            })
            .unwrap();
        assert!(pending.ready());
        assert_eq!(seen.lock().unwrap().len(), 20);
    });
}

#[test]
fn callbacks_of_maps_get_all_results_or_the_first_error() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let (sender, receiver) = mpsc::channel();
        let pairs = [(0, "a"), (0, "b")];
        let telling_texts = telling::<Vec<String>>(&sender);
        let values = pool.starmap_async_with("sleep", pairs, Some(1), telling_texts).unwrap();
        values.wait();
        assert_eq!(receiver.try_recv().unwrap().unwrap(), ["a".to_owned(), "b".to_owned()]);
        let mixed = [serde_json::json!("x"), serde_json::json!(2), serde_json::json!("y")];
        let (sender, receiver) = mpsc::channel();
        let failing =
            pool.map_async_with::<_, i64>("square", mixed, Some(1), telling(&sender)).unwrap();
        failing.wait();
        assert!(receiver.try_recv().unwrap().unwrap_err().contains("\"x\""));
        let none: [(i64,); 0] = [];
        let empty = pool.starmap_async_with("square", none, None, telling::<Vec<i64>>(&sender));
        empty.unwrap().wait();
        assert!(receiver.try_recv().unwrap().unwrap().is_empty());
    });
}

#[test]
fn a_callback_may_terminate_a_pool_with_work_in_hand() {
    watched(|| {
        let pool = Arc::new(pool(1).build().unwrap());
        let inner = Arc::clone(&pool);
        let ending = Callbacks::new().on_result(move |_: i64| inner.terminate());
        let first = pool.apply_async_with("square", (4,), ending).unwrap();
        let pending = pool.map_async::<_, Encoded>("sleep", vec![600; 100], Some(1)).unwrap();
        assert_eq!(first.get().unwrap(), 16);
        let error = pending.get().unwrap_err();
        assert!(matches!(error, Error::Cancelled(Cancelled::Terminated)), "{error}");
        pool.join().unwrap();
    });
}
