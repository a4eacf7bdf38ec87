//! The shared output: answers that are kept for a moment.

use std::{fs, time::Duration};

use protocol::{limits::LENGTH_BYTES, message::feature, spec::Side};

use crate::{
    check::{
        finding::{Finding, Stop},
        session::{Session, SharedOutput, broken_here, item_of},
        shared::{Numbers, SharedFile},
        trial::{Case, Trial},
    },
    deadline::Deadline,
    driver::now,
};
use protocol::strict::{Message, Value};

/// The size of a shared output with room for frames of 64 KiB.
const SIZE: u64 = 64 + (64 << 10);

pub(super) const CASES: &[Case] = &[
    Case::new("nothing is kept while it waits", &[43, 49], |trial| {
        let mut session = Session::ready_keeping(trial, SIZE, None)?;
        session.needs(&["echo"])?;
        for count in [1, 2, 500] {
            for number in 0..count {
                session.call("echo", &[vec![Value::Integer(number)]])?;
            }
            for number in 0..count {
                session.gives(49, &Value::Integer(number))?;
            }
        }
        session.is_silent(Duration::from_millis(50))?;
        let numbers = numbers(&session)?;
        if numbers.held != 0 {
            let text = format!("it waits for input and keeps {} bytes", numbers.held);
            return Err(Finding::new(49, text).into());
        }
        session.finish()
    }),
    Case::new("an answer is written or kept before the next item begins", &[44, 45, 46], kept),
    Case::new("items in order, where answers may be kept", &[26, 27, 44, 46], in_order),
    Case::new("what is kept is the next part of the stream", &[46, 47, 48], snapshots),
    Case::new("nothing is kept for longer than a millisecond", &[50], |trial| {
        let mut session = Session::ready_keeping(trial, SIZE, None)?;
        session.needs(&["sleep"])?;
        let item = |seconds, text| vec![Value::float(seconds), Value::text(text)];
        session.call("sleep", &[item(0.0, "a"), item(0.02, "b"), item(1.5, "c")])?;
        let written = session.has_answer(Duration::from_millis(900))?;
        if !written {
            let text = "it had control 20 ms after an item, and kept its answer on";
            return Err(Finding::new(50, text).into());
        }
        for text in ["a", "b", "c"] {
            session.gives(61, &Value::text(text))?;
        }
        session.finish()
    })
    .alone(),
    Case::new("a file that is not the right one", &[43], wrong_file),
    Case::new("it does not look for input without end", &[51], patience).alone(),
];

fn file<'a>(session: &'a Session<'_>) -> Result<&'a SharedFile, Stop> {
    let shared = session.shared_output.as_ref().map(|SharedOutput { file, .. }| file);
    shared.ok_or_else(|| Stop::Impossible("there is no shared output".into()))
}

fn numbers(session: &Session<'_>) -> Result<Numbers, Stop> {
    file(session)?.numbers().map_err(broken_here)
}

/// While an item runs, the answers before it are on the socket or in the file.
fn kept(trial: &Trial<'_>) -> Result<(), Stop> {
    let mut session = Session::ready_keeping(trial, SIZE, None)?;
    session.needs(&["sleep"])?;
    let item = |seconds, text| vec![Value::float(seconds), Value::text(text)];
    session.call("sleep", &[item(0.0, "a"), item(0.0, "b"), item(1.0, "c")])?;
    // So that the last one has begun.
    let came = session.has_answer(Duration::from_millis(300))?;
    if !came && numbers(&session)?.held == 0 {
        let text = "while the third item runs, the answer of the first is neither written nor kept";
        return Err(Finding::new(45, text).into());
    }
    look_at_frames(&mut session)?;
    for text in ["a", "b", "c"] {
        session.gives(45, &Value::text(text))?;
    }
    session.finish()
}

/// Ordinary items; where an answer does not come, or the worker ends, the file has to be in order.
fn in_order(trial: &Trial<'_>) -> Result<(), Stop> {
    let mut session = Session::ready_keeping(trial, SIZE, None)?;
    session.needs(&["echo"])?;
    let texts = ["good", "good", "bad", "good"];
    for texts in [&texts[..], &texts[2..3], &texts[1..]] {
        session
            .call("echo", &texts.iter().map(|text| vec![Value::text(text)]).collect::<Vec<_>>())?;
        for text in texts {
            let patience = Duration::from_millis(500);
            match session.has_answer(patience) {
                Ok(true) => {}
                Ok(false) => look_at_frames(&mut session)?,
                Err(stop) => {
                    // What comes no more cannot be waited for.
                    let Still { numbers, frames } = Still::read(&session)?;
                    judge_frames(&session, numbers, frames)?;
                    return Err(stop);
                }
            }
            session.echoes(&Value::text(text))?;
        }
    }
    session.finish()
}

/// What the file holds at a moment.
struct Still {
    numbers: Numbers,
    frames: Vec<u8>,
}

impl Still {
    fn read(session: &Session<'_>) -> Result<Self, Stop> {
        let numbers = numbers(session)?;
        let frames = file(session)?.frames(numbers.held.min(SIZE - 64)).map_err(broken_here)?;
        Ok(Self { numbers, frames })
    }
}

/// Judges what the file holds while the worker is busy with an item.
///
/// The worker may empty the file meanwhile: for as long as what it holds, or what has come over the
/// socket, goes on changing, there is nothing to judge.
fn look_at_frames(session: &mut Session<'_>) -> Result<(), Stop> {
    const QUIET: Duration = Duration::from_millis(200);
    const PAUSE: Duration = Duration::from_millis(2);
    let (mut before, mut since) = (None, now());
    let deadline = Deadline::after(session.patience());
    loop {
        while !deadline.is_over() && session.receive(PAUSE)?.is_some() {}
        let Still { numbers: found, frames } = Still::read(session)?;
        let state = (found, session.wire.received);
        // There is never that much, however it goes on.
        if found.held > SIZE - 64 {
            return judge_frames(session, found, frames);
        }
        if deadline.is_over() {
            let seconds = session.patience().as_secs_f64();
            let text = format!("what it keeps, or sends, went on changing for {seconds:.1} s");
            return Err(Finding::new(46, text).came(&frames).into());
        }
        if before != Some(state) || numbers(session)? != found {
            (before, since) = (Some(state), now());
        } else if found.base == session.wire.received || since.elapsed() >= QUIET {
            return judge_frames(session, found, frames);
        }
    }
}

fn judge_frames(session: &Session<'_>, numbers: Numbers, mut frames: Vec<u8>) -> Result<(), Stop> {
    let Numbers { base, held, last } = numbers;
    let broken = |requirement, text: String, frames: &[u8]| {
        Err(Finding::new(requirement, text).came(frames).into())
    };
    if held > SIZE - 64 {
        let text = format!("`held` is {held}, and there is room for {}", SIZE - 64);
        return broken(46, text, &frames);
    }
    if held > 0 && base != session.wire.received {
        let received = session.wire.received;
        let text = format!("`base` is {base}, and {received} bytes were written to the socket");
        return broken(46, text, &frames);
    }
    let last = usize::try_from(last).unwrap_or(usize::MAX);
    if !frames.is_empty() {
        let start = last.checked_add(LENGTH_BYTES);
        let Some(behind) = start.and_then(|start| frames.len().checked_sub(start)) else {
            let text = format!("`last` is {last}, and {held} bytes are held");
            return broken(46, text, &frames);
        };
        let length = u32::try_from(behind).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = frames.get_mut(last..last + LENGTH_BYTES) {
            place.copy_from_slice(&length);
        }
    }
    let mut due = session.due();
    let mut rest = frames.as_slice();
    while let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((body, others)) = behind.split_at_checked(length) else {
            return broken(46, "a frame that is kept is not complete".into(), rest);
        };
        let Ok(message) = Message::read(Side::Worker, body.to_vec()) else {
            return broken(44, "what is kept is no message".into(), body);
        };
        let answers = match message.name {
            "results" => message.payload.len(),
            "result" | "error" | "shared_result" => 1,
            name => return broken(44, format!("`{name}` is kept, which is not an answer"), body),
        };
        let (id, first) = item_of(&message);
        for item in (first..).take(answers) {
            if due.next() != Some((id, item)) {
                return broken(27, "an answer is kept that is not the next one due".into(), body);
            }
        }
        rest = others;
    }
    Ok(())
}

/// Looks at the file again and again while answers come, and afterwards compares what it held with
/// what has come.
fn snapshots(trial: &Trial<'_>) -> Result<(), Stop> {
    const CALLS: i128 = 20_000;
    let mut session = Session::ready_keeping(trial, SIZE, None)?;
    session.needs(&["echo"])?;
    // What came before counts as well.
    let before = session.wire.received;
    session.wire.record = Some(Vec::new());
    let mut all = Vec::new();
    for number in 0..CALLS {
        all.extend(session.prepare("echo", [], &[vec![Value::Integer(number)]]).1);
    }
    let mut snapshots = Vec::new();
    for part in all.chunks(64 << 10) {
        session.send(part)?;
        for _ in 0..50 {
            let one = numbers(&session)?;
            let frames = file(&session)?.frames(one.held.min(SIZE - 64)).map_err(broken_here)?;
            if one.held > 0 && numbers(&session)? == one && snapshots.len() < 1000 {
                snapshots.push((one, frames));
            }
        }
    }
    for number in 0..CALLS {
        session.gives(47, &Value::Integer(number))?;
    }
    let received = session.wire.received;
    let record = session.wire.record.take().unwrap_or_default();
    for (Numbers { base, held, last }, mut frames) in snapshots {
        let broken = |requirement, text: String, frames: &[u8]| {
            Err(Finding::new(requirement, text).came(frames).into())
        };
        let start = base.checked_sub(before).and_then(|start| usize::try_from(start).ok());
        let Some(start) = start.filter(|_| base.saturating_add(held) <= received) else {
            let text =
                format!("`base` was {base} and `held` {held}, of a stream of {received} bytes");
            return broken(48, text, &frames);
        };
        let mut came = record.get(start..start + frames.len()).unwrap_or_default().to_vec();
        // The length of the last frame need not be there yet.
        let last = usize::try_from(last).unwrap_or(usize::MAX);
        for bytes in [&mut frames, &mut came] {
            if let Some(length) = last.checked_add(4).and_then(|end| bytes.get_mut(last..end)) {
                length.fill(0);
            }
        }
        if came != frames {
            return Err(Finding::new(46, "what was kept is not what came over the socket later")
                .expected(&came)
                .came(&frames)
                .into());
        }
    }
    let after = numbers(&session)?;
    if after.held != 0 {
        return Err(Finding::new(49, "it has answered everything, and keeps something").into());
    }
    session.finish()
}

/// It goes on as if the feature had not been chosen.
fn wrong_file(trial: &Trial<'_>) -> Result<(), Stop> {
    for wrong in ["path", "key", "size", "nothing"] {
        let mut session = Session::greeted(trial)?;
        session.needs_features(&[feature::SHARED_OUTPUT])?;
        session.needs(&["echo"])?;
        let size = if wrong == "size" { 64 } else { SIZE };
        let file = SharedFile::new(size).map_err(broken_here)?;
        let path = if wrong == "path" { "/nowhere/at/all".to_owned() } else { file.path() };
        let key = if wrong == "key" { file.key ^ 1 } else { file.key };
        let place = [("path", Value::text(&path)), ("key", Value::Integer(key.into()))];
        let field = (wrong != "nothing").then(|| ("shared_output", Value::fields(place)));
        session.welcome(&[feature::SHARED_OUTPUT], field, &[])?;
        session.get_ready()?;
        for number in 0..20 {
            session.call("echo", &[vec![Value::Integer(number)]])?;
        }
        for number in 0..20 {
            session.gives(43, &Value::Integer(number))?;
        }
        let written = file.numbers().map_err(broken_here)?;
        if written != (Numbers { base: 0, held: 0, last: 0 }) && wrong != "nothing" {
            let text = format!("it has written to a file with another {wrong}: {written:?}");
            return Err(Finding::new(43, text).into());
        }
        session.finish()?;
    }
    Ok(())
}

/// The time of the processor that a process has used, in ticks of the system.
fn processor_ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(number(11)? + number(12)?)
}

fn patience(trial: &Trial<'_>) -> Result<(), Stop> {
    let mut session = Session::ready_keeping(trial, SIZE, None)?;
    session.needs(&["echo"])?;
    file(&session)?.set_patience(u64::MAX).map_err(broken_here)?;
    session.call("echo", &[vec![Value::Nil]])?;
    session.gives(51, &Value::Nil)?;
    let Some(before) = processor_ticks(session.subject.pid()) else {
        return Err(Stop::Impossible("only Linux tells the time of the processor".into()));
    };
    session.is_silent(Duration::from_secs(1))?;
    let used = processor_ticks(session.subject.pid()).unwrap_or_default().saturating_sub(before);
    // A tick is a hundredth of a second.
    if used > 30 {
        let text =
            format!("while it waited for a second it used the processor for {used} hundredths");
        return Err(Finding::new(51, text).into());
    }
    session.finish()
}
