//! A bounded load generator for this machine: it speaks to 127.0.0.1 only, never
//! retries, and counts every request that did not come back with a 2xx.

mod client;
mod options;
mod report;

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use client::{Client, Trouble};
use options::{Class, Options, Parsed};
use report::{Failure, Histogram};

const STACK: usize = 128 * 1024;
/// How many failures are told one by one.
const FIRST_FAILURES: usize = 20;
/// How many different bodies are told apart with `--hosts`.
const MOST_HOSTS: usize = 1000;
/// The longest sleep between two looks at the stop flag.
const NAP: Duration = Duration::from_millis(50);

/// What one connection saw; added up per class at the end.
#[derive(Default)]
struct Tally {
    requests: u64,
    failures: BTreeMap<String, u64>,
    keepalive_race: u64,
    connects: u64,
    body_bytes: u64,
    latency: Histogram,
    most_lag: Duration,
    hosts: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.keepalive_race += other.keepalive_race;
        self.connects += other.connects;
        self.body_bytes += other.body_bytes;
        self.most_lag = self.most_lag.max(other.most_lag);
        self.latency.add(&other.latency);
        for (kind, count) in &other.failures {
            *self.failures.entry(kind.clone()).or_default() += count;
        }
        for (host, count) in &other.hosts {
            *self.hosts.entry(host.clone()).or_default() += count;
        }
    }
}

/// What all connections share.
struct Run {
    start: Instant,
    stop: Arc<AtomicBool>,
    hosts: bool,
    failures: Mutex<Vec<Failure>>,
    requests: AtomicU64,
    failed: AtomicU64,
}

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("load: {message}\nTry `load --help`.");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all classes and prints the summary. Returns how many requests failed.
fn run(options: &Options) -> io::Result<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // The second one ends the process at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let run = Run {
        start: Instant::now(),
        stop,
        hosts: options.hosts,
        failures: Mutex::default(),
        requests: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    };
    let finished = AtomicBool::new(false);
    let tallies = thread::scope(|scope| -> io::Result<Vec<Tally>> {
        if let Some(every) = options.progress {
            let (run, finished) = (&run, &finished);
            scope.spawn(move || report_progress(run, finished, every));
        }
        let mut classes = Vec::new();
        for class in &options.classes {
            let tickets = Arc::new(AtomicU64::new(0));
            let mut connections = Vec::new();
            for number in 0..class.connections {
                let (run, tickets) = (&run, tickets.clone());
                connections.push(
                    thread::Builder::new()
                        .stack_size(STACK)
                        .spawn_scoped(scope, move || drive(run, class, number, &tickets))
                        .inspect_err(|_| run.stop.store(true, Relaxed))?,
                );
            }
            classes.push(connections);
        }
        let tallies = classes
            .into_iter()
            .map(|connections| {
                let mut total = Tally::default();
                for connection in connections {
                    total.add(
                        &connection
                            .join()
                            .expect("a connection's thread does not panic"),
                    );
                }
                total
            })
            .collect();
        finished.store(true, Relaxed);
        Ok(tallies)
    })?;
    let elapsed = run.start.elapsed();
    let mut failures = run
        .failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.at);
    let report = report::Report {
        options,
        elapsed,
        tallies: &tallies,
        failures: &failures,
    };
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(run.failed.into_inner())
}

/// One connection: takes the class's next ticket, waits until it is due, sends.
fn drive(run: &Run, class: &Class, number: usize, tickets: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let mut client = Client::new(class);
    let begin = run.start + class.delay;
    let end = class.duration.map(|duration| begin + duration);
    sleep_until(run, begin);
    loop {
        let ticket = tickets.fetch_add(1, Relaxed);
        if class.requests.is_some_and(|most| ticket >= most) {
            break;
        }
        if let Some(rate) = class.rate {
            let due = begin + Duration::from_secs_f64(ticket as f64 / rate);
            if end.is_some_and(|end| due >= end) {
                break;
            }
            sleep_until(run, due);
            tally.most_lag = tally.most_lag.max(due.elapsed());
        }
        if run.stop.load(Relaxed) || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }

        let sent = Instant::now();
        let outcome = client.request(run.hosts);
        let took = sent.elapsed();
        tally.requests += 1;
        tally.latency.record(took);
        run.requests.fetch_add(1, Relaxed);
        match outcome {
            Ok(answer) => {
                tally.body_bytes += answer.length;
                if run.hosts {
                    let host = String::from_utf8_lossy(&answer.body).trim().to_owned();
                    if tally.hosts.len() < MOST_HOSTS || tally.hosts.contains_key(&host) {
                        *tally.hosts.entry(host).or_default() += 1;
                    }
                }
            }
            Err(trouble) => {
                run.failed.fetch_add(1, Relaxed);
                *tally.failures.entry(trouble.kind.clone()).or_default() += 1;
                tally.keepalive_race += u64::from(trouble.keepalive_race);
                note(run, class, number, trouble, sent, took);
                // A server that refuses is not hammered.
                if class.rate.is_none() {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
    tally.connects = client.connects;
    tally
}

fn note(
    run: &Run,
    class: &Class,
    connection: usize,
    trouble: Trouble,
    sent: Instant,
    took: Duration,
) {
    let mut failures = run.failures.lock().unwrap_or_else(PoisonError::into_inner);
    if failures.len() < FIRST_FAILURES {
        failures.push(Failure {
            at: (sent + took).duration_since(run.start),
            took,
            class: class.name.clone(),
            connection,
            trouble,
        });
    }
}

fn sleep_until(run: &Run, due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() || run.stop.load(Relaxed) {
            return;
        }
        thread::sleep(left.min(NAP));
    }
}

fn report_progress(run: &Run, finished: &AtomicBool, every: Duration) {
    let (mut due, mut before) = (run.start, 0);
    loop {
        due += every;
        while Instant::now() < due {
            if finished.load(Relaxed) {
                return;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()).min(NAP));
        }
        let (requests, failed) = (run.requests.load(Relaxed), run.failed.load(Relaxed));
        let rate = (requests - before) as f64 / every.as_secs_f64();
        before = requests;
        let seconds = run.start.elapsed().as_secs_f64();
        eprintln!("seconds={seconds:.0} requests={requests} failed={failed} rps={rate:.0}");
    }
}
