use super::*;

fn shared(look_ahead: u64) -> Shared {
    let options = StreamOptions {
        ordered: false,
        look_ahead,
        enough_for_one: 16,
        workers: Arc::new(AtomicU64::new(2)),
        grows: false,
    };
    Shared {
        id: fresh_id(),
        function: "square".into(),
        options,
        state: Mutex::default(),
        has_come: Condvar::new(),
        has_room: Condvar::new(),
    }
}

/// With so many items on their way, whose results are small.
fn state(items: u64) -> State {
    State { items, result_size: 1, ..State::default() }
}

#[test]
fn a_feeder_that_has_waited_goes_on_when_an_eighth_is_free() {
    let shared = shared(4096);
    let is_room = |items, has_waited| shared.is_room_for(&state(items), 1, has_waited);
    assert!(is_room(4095, false) && !is_room(4096, false));
    assert!(!is_room(4095, true) && !is_room(4096 - 511, true));
    assert!(is_room(4096 - 512, true) && is_room(0, true));
}

#[test]
fn where_little_may_be_on_its_way_a_feeder_goes_on_at_once() {
    for look_ahead in 1..16 {
        let shared = shared(look_ahead);
        let is_room = |items| shared.is_room_for(&state(items), 1, true);
        assert!(is_room(look_ahead - 1) && !is_room(look_ahead), "{look_ahead}");
    }
}

#[test]
fn a_feeder_waits_for_a_quarter_at_the_most() {
    let shared = shared(4096);
    let is_room = |items| shared.is_room_for(&state(items), 10_000, false);
    assert!(is_room(3072) && !is_room(3073));
}

#[test]
fn with_too_many_bytes_on_their_way_a_feeder_goes_on_when_nothing_is() {
    let shared = shared(4096);
    let full = |items| State { bytes: LOOK_AHEAD_BYTES, ..state(items) };
    assert!(!shared.is_room_for(&full(1), 1, false) && !shared.is_room_for(&full(1), 1, true));
    assert!(shared.is_room_for(&full(0), 1, true));
}
