//! Who drives the loop.
//!
//! Usually that is the supervisor's thread. But a caller who has nothing to do but wait for a result
//! drives it better himself: what he submits is written by his own thread, and what comes back is
//! read by it, so that nobody has to be woken on the way but the worker. So the supervisor lies on a
//! desk when nobody drives it, and whoever takes it from there drives it until he puts it back.
//!
//! The supervisor's thread takes it again when it has not been used for a moment, or at once when
//! there is something to do.

use std::{
    cell::RefCell,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::supervisor::Supervisor;

/// How long the supervisor may lie on the desk unused, with nothing under way: 5 ms. So long may it
/// take until the end of an idle worker is noticed; and whoever calls again and again must not
/// wait for it to be handed over each time.
const UNUSED: Duration = Duration::from_millis(5);

/// Where the supervisor is when nobody drives it.
#[derive(Default)]
pub(super) struct Desk {
    place: Mutex<Place>,
    changed: Condvar,
}

#[derive(Default)]
struct Place {
    supervisor: Option<Box<Supervisor>>,
    /// How many callers wait for it.
    wanted: usize,
    /// How often callers took it.
    taken: u64,
    /// The supervisor's thread is to take it at once.
    summoned: bool,
    /// The supervisor's thread waits until it is put back.
    awaited: bool,
    /// It was lost in a panic.
    lost: bool,
}

impl Place {
    /// Takes the supervisor for a caller.
    fn take(&mut self) -> Option<Box<Supervisor>> {
        let supervisor = self.supervisor.take()?;
        self.taken += 1;
        Some(supervisor)
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a caller waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().wanted > 0
    }

    /// Makes the supervisor's thread drive, if nobody does.
    pub(super) fn summon(&self) {
        let mut place = self.lock();
        if place.supervisor.is_some() && !place.summoned {
            place.summoned = true;
            drop(place);
            self.changed.notify_all();
        }
    }

    /// Takes it, if it lies there.
    pub(super) fn take(&self) -> Option<Box<Supervisor>> {
        self.lock().take()
    }

    /// Takes it as soon as whoever drives it puts it down. `ask` makes him look who wants it.
    /// `None` if it is not put down for long, or never.
    pub(super) fn take_over(
        &self,
        patience: Duration,
        ask: impl FnOnce(),
    ) -> Option<Box<Supervisor>> {
        let mut place = self.lock();
        place.wanted += 1;
        if place.supervisor.is_none() {
            drop(place);
            ask();
            place = self.lock();
        }
        let waits = |place: &mut Place| place.supervisor.is_none() && !place.lost;
        let waited = self.changed.wait_timeout_while(place, patience, waits);
        let (mut place, _) = waited.unwrap_or_else(PoisonError::into_inner);
        place.wanted -= 1;
        place.take()
    }

    /// A caller puts it back. The supervisor's thread takes it at once if there is something to do.
    /// That is asked here, where nobody who brings something can overlook that it lies there.
    pub(super) fn put_back(&self, supervisor: Box<Supervisor>) {
        let mut place = self.lock();
        place.summoned = supervisor.has_something_to_do();
        place.supervisor = Some(supervisor);
        if place.summoned || place.awaited || place.wanted > 0 {
            drop(place);
            self.changed.notify_all();
        }
    }

    /// It is lost, as whoever drove it panicked.
    pub(super) fn lose(&self) {
        self.lock().lost = true;
        self.changed.notify_all();
    }

    /// The supervisor's thread puts it down for callers, and waits until it is to drive again.
    /// `None` if it is lost.
    pub(super) fn lend(&self, supervisor: Box<Supervisor>) -> Option<Box<Supervisor>> {
        let mut place = self.lock();
        place.summoned = supervisor.has_something_to_do();
        place.supervisor = Some(supervisor);
        self.changed.notify_all();
        loop {
            let taken = place.taken;
            // Who wants it takes it: until then there is nothing to do, whoever summons.
            let rests = |place: &mut Place| {
                let awaits_taker = place.wanted > 0 && place.supervisor.is_some();
                (awaits_taker || !place.summoned) && !place.lost
            };
            let waited = self.changed.wait_timeout_while(place, UNUSED, rests);
            (place, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if place.lost {
                return None;
            }
            if (place.summoned || place.taken == taken)
                && place.wanted == 0
                && let Some(supervisor) = place.supervisor.take()
            {
                place.summoned = false;
                return Some(supervisor);
            }
            // Whoever has it now sees for himself what there is to do.
            place.summoned &= place.supervisor.is_some();
            // One caller has had it all the while, and may have it for long: to look again and again
            // would take the CPU from workers. Those who call again and again are not to notify.
            if place.supervisor.is_none() && place.taken == taken {
                place.awaited = true;
                let driven = |place: &mut Place| place.supervisor.is_none() && !place.lost;
                let waited = self.changed.wait_while(place, driven);
                place = waited.unwrap_or_else(PoisonError::into_inner);
                place.awaited = false;
            }
        }
    }
}

thread_local! {
    /// The desks whose supervisors this thread drives, the innermost last.
    static DRIVEN: RefCell<Vec<*const Desk>> = const { RefCell::new(Vec::new()) };
}

impl Desk {
    /// Whether this thread drives its supervisor, and so cannot wait for it.
    pub(super) fn is_driven_here(&self) -> bool {
        let is_driven =
            |driven: &RefCell<Vec<_>>| driven.borrow().contains(&std::ptr::from_ref(self));
        DRIVEN.try_with(is_driven).unwrap_or(false)
    }

    /// Notes that this thread drives its supervisor, until what is given back is dropped.
    pub(super) fn drive_here(&self) -> Driving {
        DRIVEN.with_borrow_mut(|driven| driven.push(std::ptr::from_ref(self)));
        Driving(())
    }
}

/// As long as this lives, this thread drives.
#[must_use]
pub(super) struct Driving(());

impl Drop for Driving {
    fn drop(&mut self) {
        DRIVEN.with_borrow_mut(|driven| driven.pop());
    }
}
