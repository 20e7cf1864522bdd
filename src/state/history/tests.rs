//! Reading `scaling.log`: order, damage, and rotations meanwhile.

use std::{
    fs,
    io::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::*;
use crate::state::scaling_log::ScalingLog;

fn line(number: usize) -> String {
    format!(r#"{{"time":"2026-01-01T12:00:00Z","service":"s{number}","event":"nothing_serves"}}"#)
}

/// What a reader comes upon, in short: the services' names, `FILE:LINE`, `gap`.
fn short(piece: LogPiece) -> String {
    match piece {
        LogPiece::Entry(entry) => entry.service,
        LogPiece::Damaged { file, line } => {
            format!("{}:{line}", file.file_name().unwrap().to_str().unwrap())
        }
        LogPiece::Gap => "gap".to_owned(),
    }
}

fn whole(directory: &Path) -> Vec<String> {
    let mut read = Vec::new();
    let mut history = LogHistory::of(directory).unwrap();
    history
        .read_to_end(|piece| read.push(short(piece)))
        .unwrap();
    read
}

fn news(history: &mut LogHistory) -> Vec<String> {
    let mut read = Vec::new();
    history.read(|piece| read.push(short(piece))).unwrap();
    read
}

/// Adds text to a log as it stands.
fn add(directory: &Path, number: u32, text: &str) {
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(scaling_log::path(directory, number))
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Writes line `number` into a log with room for a few lines.
fn append(directory: &Path, number: usize) {
    ScalingLog::with_limit(directory, 300)
        .append(line(number).into_bytes())
        .unwrap();
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("s{number}")).collect()
}

#[test]
fn older_logs_come_first_and_those_that_are_missing_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    assert!(LogHistory::of(dir.path()).unwrap().is_empty());
    assert!(whole(dir.path()).is_empty());
    for (number, text) in [(0, 4), (1, 3), (3, 1)] {
        add(dir.path(), number, &format!("{}\n", line(text)));
    }
    assert!(!LogHistory::of(dir.path()).unwrap().is_empty());
    assert_eq!(whole(dir.path()), ["s1", "s3", "s4"]);
}

#[test]
fn a_torn_end_and_damage_in_the_middle_are_named_and_cost_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let whole_line = line(1) + "\n";
    add(dir.path(), 1, &format!("{whole_line}\0\0\n\n{{}}\n\u{e9}"));
    add(dir.path(), 0, &format!("{whole_line}{}", &whole_line[..40]));
    assert_eq!(
        whole(dir.path()),
        [
            "s1",
            "scaling.log.1:2",
            "scaling.log.1:4",
            "scaling.log.1:5",
            "s1",
            "scaling.log:2"
        ]
    );
    // The end of a line was all that was missing.
    let dir = tempfile::tempdir().unwrap();
    add(dir.path(), 0, &line(1));
    assert_eq!(whole(dir.path()), ["s1"]);
}

#[test]
fn bytes_that_are_no_text_hide_no_other_line() {
    let dir = tempfile::tempdir().unwrap();
    add(dir.path(), 0, &(line(1) + "\n"));
    let mut file = File::options()
        .append(true)
        .open(scaling_log::path(dir.path(), 0))
        .unwrap();
    file.write_all(b"\xff\xfe{\n").unwrap();
    add(dir.path(), 0, &(line(2) + "\n"));
    assert_eq!(whole(dir.path()), ["s1", "scaling.log:2", "s2"]);
}

#[test]
fn a_follower_waits_for_the_end_of_a_line_which_may_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = LogHistory::of(dir.path()).unwrap();
    assert!(news(&mut history).is_empty(), "there is no log yet");
    add(dir.path(), 0, &format!("{}\n{}", line(1), &line(2)[..30]));
    assert_eq!(news(&mut history), ["s1"]);
    assert!(news(&mut history).is_empty());
    let whole = (line(1).len() + 1) as u64;
    let path = scaling_log::path(dir.path(), 0);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(whole).unwrap();
    add(dir.path(), 0, &(line(3) + "\n"));
    assert_eq!(news(&mut history), ["s3"]);
    // Somebody empties it.
    file.set_len(0).unwrap();
    assert!(news(&mut history).is_empty());
    add(dir.path(), 0, &(line(4) + "\n"));
    assert_eq!(news(&mut history), ["s4"]);
}

#[test]
fn a_follower_reads_the_rest_of_logs_that_were_put_away_before_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), 0);
    let mut history = LogHistory::of(dir.path()).unwrap();
    assert_eq!(news(&mut history), ["s0"]);
    for number in 1..12 {
        append(dir.path(), number);
    }
    assert!(scaling_log::path(dir.path(), 2).exists());
    assert_eq!(news(&mut history), numbers(1..12));
    // Put away, and the next log is not there yet: nothing to be said, and nothing to be missed.
    for number in (0..3).rev() {
        let (from, to) = (number, number + 1);
        fs::rename(
            scaling_log::path(dir.path(), from),
            scaling_log::path(dir.path(), to),
        )
        .unwrap();
    }
    assert!(news(&mut history).is_empty());
    append(dir.path(), 12);
    assert_eq!(news(&mut history), ["s12"]);
}

#[test]
fn a_follower_that_was_too_slow_says_so_and_goes_on_with_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), 0);
    let mut history = LogHistory::of(dir.path()).unwrap();
    news(&mut history);
    for number in 1..40 {
        append(dir.path(), number);
    }
    let read = news(&mut history);
    let kept = whole(dir.path());
    let gap = read.iter().position(|name| name == "gap").unwrap();
    assert_eq!(read[..gap], numbers(1..1 + gap), "the rest of its own log");
    assert_eq!(read[gap + 1..], kept);
    // A directory that somebody removed is made anew, and that is no gap.
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(news(&mut history).is_empty());
    fs::create_dir(dir.path()).unwrap();
    append(dir.path(), 40);
    assert_eq!(news(&mut history), ["s40"]);
}

#[test]
fn every_line_is_read_once_and_in_order_while_logs_are_rotated() {
    const LINES: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path();
    let (written, read) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let problems = Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..LINES {
                append(directory, number);
                written.store(number + 1, Ordering::Release);
                // Three older logs are kept, so a reader has to keep up.
                while number > read.load(Ordering::Acquire) + 8 {
                    thread::yield_now();
                }
            }
        });
        // Whoever reads all of it meanwhile finds what is kept, without a gap.
        scope.spawn(|| {
            while read.load(Ordering::Acquire) < LINES {
                let all = whole(directory);
                // It may be too slow, and then it says so.
                for part in all.split(|name| name == "gap") {
                    let first = part.first().map_or(0, |name| name[1..].parse().unwrap());
                    if part != numbers(first..first + part.len()) {
                        problems.lock().unwrap().push(all.clone());
                    }
                }
            }
        });
        let mut history = LogHistory::of(directory).unwrap();
        let mut found = Vec::new();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
        while found.len() < LINES && tokio::time::Instant::now() < deadline {
            found.extend(news(&mut history));
            read.store(found.len(), Ordering::Release);
        }
        // So that nobody waits for a reader who has given up.
        read.store(usize::MAX - 8, Ordering::Release);
        assert_eq!(written.load(Ordering::Acquire), LINES);
        let wrong = found
            .iter()
            .zip(numbers(0..LINES))
            .position(|(a, b)| *a != b);
        let around = wrong.map(|at| &found[at.saturating_sub(3)..(at + 3).min(found.len())]);
        assert_eq!((around, found.len()), (None, LINES));
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{:?}", problems[0]);
}

fn entry(text: &str) -> HistoryEntry {
    HistoryEntry::read(text.as_bytes()).unwrap()
}

#[test]
fn a_change_is_read_without_its_input() {
    let scale = entry(
        r#"{"time":"2026-01-01T12:00:00Z","service":"web","event":"scale","from":2,"to":4,"reason":"above_target","message":"cpu 99.9% of 60% target: 2 → 4","metrics":{"cpu":99.9,"jobs":null},"by":"policy","input":{"seconds":7,"deep":[[{}]]}}"#,
    );
    let expected = HistoryEntry {
        time: "2026-01-01T12:00:00Z".parse().unwrap(),
        service: "web".into(),
        event: "scale".into(),
        from: Some(2),
        to: Some(4),
        reason: Some("above_target".into()),
        by: Some("policy".into()),
        metrics: BTreeMap::from([("cpu".into(), 99.9)]),
        seconds: None,
        message: "cpu 99.9% of 60% target: 2 → 4".into(),
        level: EventLevel::Info,
    };
    assert_eq!(scale, expected);
    assert_eq!(scale.kind(), HistoryKind::Change);
}

#[test]
fn what_has_no_message_is_told_in_the_words_of_the_log() {
    for (rest, kind, message) in [
        (
            r#""died","replica":"shop-web-1","exit_code":137,"oom":true"#,
            HistoryKind::Trouble,
            "shop-web-1 died with exit code 137 (out of memory)",
        ),
        (
            r#""paused","directions":"both","until":null,"by":"hand""#,
            HistoryKind::Remark,
            "scaling is paused",
        ),
        (
            r#""scaled","from":1,"to":2,"seconds":0.7"#,
            HistoryKind::Served,
            "scaled 1 → 2 in 0.7s",
        ),
        (
            r#""not_scaling","reason":"at_max","message":"the maximum""#,
            HistoryKind::Remark,
            "the maximum",
        ),
        (
            r#""draining","replica":"x","because":"y""#,
            HistoryKind::Step,
            "",
        ),
        // Of a program that is yet to be written.
        (
            r#""vanished","message":"it vanished","whither":"Mars""#,
            HistoryKind::Remark,
            "it vanished",
        ),
    ] {
        let text = format!(r#"{{"time":"2026-01-01T12:00:00Z","service":"web","event":{rest}}}"#);
        let entry = entry(&text);
        assert_eq!((entry.kind(), entry.message.as_str()), (kind, message));
    }
}
