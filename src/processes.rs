//! Commands on this host that end with all their descendants, and what `/proc` says of processes.
//!
//! A process can leave its group (`setsid`) and its parent (a double fork). So each command has a mark in
//! its environment, which its descendants inherit, and this program adopts those whose parent has ended
//! (`PR_SET_CHILD_SUBREAPER`): all of them stay below it in the tree of processes, where the mark tells
//! whose they are. One that clears its environment is found while its parent, its group or its session is
//! one of those.

use std::{
    collections::BTreeSet,
    fs, io,
    process::{ExitStatus, Output},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process_group, pidfd_open,
    pidfd_send_signal, set_child_subreaper, waitid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// Names the command that a process descends from.
const MARK: &str = "COMPOSE_SCALE_COMMAND";
/// So many rounds of looking for descendants, when each finds new ones.
const ROUNDS: usize = 50;
/// So many looks whether those that were killed have ended, and the time between two.
const LOOKS: usize = 100;
const LOOK: Duration = Duration::from_millis(2);

/// A process, as `/proc/PID/stat` describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessStat {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Its group's id.
    pub group: i32,
    /// Its session's id.
    pub session: i32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
    /// Whether it has ended and only its parent has not asked for its status yet.
    pub ended: bool,
}

impl ProcessStat {
    /// The process with this id; `None` when there is none.
    pub fn read(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything; what follows are numbers.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse().ok();
        Some(Self {
            pid,
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            started: fields.get(19)?.parse().ok()?,
            ended: matches!(fields.first(), Some(&("Z" | "X"))),
        })
    }

    /// Every process of this host.
    pub fn all() -> io::Result<impl Iterator<Item = Self>> {
        let entries = fs::read_dir("/proc")?;
        let ids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(ids.filter_map(Self::read))
    }

    fn has(&self, mark: &str) -> bool {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == mark.as_bytes())
    }

    /// Kills it, and no other process that has its id by now.
    fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.pid)
            && let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
            && Self::read(self.pid).is_some_and(|now| now.started == self.started)
        {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

/// A command and all its descendants. They are killed when the value is dropped.
#[derive(Debug)]
pub struct Group {
    child: Child,
    /// The variable that they have in their environment.
    mark: String,
    /// Whether nothing is left to be killed.
    over: bool,
}

impl Group {
    /// Starts a command in a process group of its own.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        adopts_orphans();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let value = format!("{}.{number}", std::process::id());
        let child = command
            .env(MARK, &value)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            child,
            mark: format!("{MARK}={value}"),
            over: false,
        })
    }

    /// Its standard input, output and errors, where they are piped and not taken yet.
    pub fn streams(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        (
            self.child.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        )
    }

    /// Waits for the command to end by itself. Its id stays its own until [`Self::end`].
    pub async fn has_ended(&self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while let Some(pid) = self.id()
            && waitid(WaitId::Pid(pid), look)?.is_none()
        {
            children.recv().await;
        }
        Ok(())
    }

    /// Kills all that is left of it and waits until none is. Returns how the command ended.
    pub async fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill_group();
        let status = self.child.wait().await?;
        self.over = true;
        if has_children() {
            let mark = self.mark.clone();
            let mut killed = blocking(move || kill_descendants(&mark)).await;
            for _ in 0..LOOKS {
                killed = blocking(move || reap(killed)).await;
                if killed.is_empty() {
                    break;
                }
                sleep(LOOK).await;
            }
        }
        Ok(status)
    }

    /// Waits for the command to end by itself. What it leaves in the background goes on: it may have
    /// started a server.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.over = true;
        Ok(status)
    }

    /// The same, and returns what it printed.
    pub async fn output(mut self) -> io::Result<Output> {
        let (_, stdout, stderr) = self.streams();
        let (stdout, stderr) = tokio::try_join!(all_of(stdout), all_of(stderr))?;
        Ok(Output {
            status: self.wait().await?,
            stdout,
            stderr,
        })
    }

    fn kill_group(&self) {
        if let Some(group) = self.id() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Its id until it is waited for: then another process may have it.
    fn id(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.over {
            self.kill_group();
            // They are reaped when the next command ends.
            kill_descendants(&self.mark);
        }
    }
}

async fn all_of(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Reading all of `/proc` takes milliseconds.
async fn blocking<T: Send + 'static + Default>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

/// Makes this program the parent of descendants whose own parent has ended. Returns whether it is.
fn adopts_orphans() -> bool {
    static ADOPTS: LazyLock<bool> = LazyLock::new(|| set_child_subreaper(Some(getpid())).is_ok());
    *ADOPTS
}

/// Whether there may be descendants: those without a parent are our children.
fn has_children() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let none = Err(rustix::io::Errno::CHILD);
    !adopts_orphans() || waitid(WaitId::All, look).map(drop) != none
}

/// Kills all descendants of the command with this mark, those too that are born meanwhile, and returns
/// them.
fn kill_descendants(mark: &str) -> BTreeSet<ProcessStat> {
    let mut killed = BTreeSet::new();
    for _ in 0..ROUNDS {
        let found = descendants(mark);
        let new: Vec<_> = found
            .into_iter()
            .filter(|one| !one.ended && killed.iter().all(|k| !is_same(k, one)))
            .collect();
        if new.is_empty() {
            break;
        }
        for process in new {
            process.kill();
            killed.insert(process);
        }
    }
    killed
}

fn is_same(one: &ProcessStat, other: &ProcessStat) -> bool {
    (one.pid, one.started) == (other.pid, other.started)
}

/// What descends from the command with this mark.
fn descendants(mark: &str) -> Vec<ProcessStat> {
    let me = getpid().as_raw_nonzero().get();
    let (Ok(all), Some(own)) = (ProcessStat::all(), ProcessStat::read(me)) else {
        return Vec::new();
    };
    let ours = below(me, all.collect());
    let (mut found, mut rest): (Vec<_>, Vec<_>) = ours.into_iter().partition(|one| one.has(mark));
    loop {
        let belongs = |one: &ProcessStat| {
            found.iter().any(|other| {
                one.parent == other.pid
                    || one.session == other.session && one.session != own.session
                    || one.group == other.group && one.group != own.group
            })
        };
        let (more, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(belongs);
        if more.is_empty() {
            return found;
        }
        found.extend(more);
        rest = others;
    }
}

/// Those of the processes that descend from this one.
fn below(ancestor: i32, mut all: Vec<ProcessStat>) -> Vec<ProcessStat> {
    let mut parents = BTreeSet::from([ancestor]);
    let mut found = Vec::new();
    loop {
        let (more, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|one| parents.contains(&one.parent));
        if more.is_empty() {
            return found;
        }
        parents.extend(more.iter().map(|one| one.pid));
        found.extend(more);
        all = others;
    }
}

/// Takes note of the end of adopted processes, and returns those of `killed` that have not ended yet.
fn reap(killed: BTreeSet<ProcessStat>) -> BTreeSet<ProcessStat> {
    let me = getpid().as_raw_nonzero().get();
    let (Ok(all), Some(own)) = (ProcessStat::all(), ProcessStat::read(me)) else {
        return BTreeSet::new();
    };
    let children = all.filter(|one| one.parent == me && one.ended);
    for child in children {
        // One of our own making is waited for by whoever made it: it is in our session, in our group or
        // at the head of one.
        let adopted = child.session != own.session
            || child.group != own.group && child.group != child.pid
            || killed.iter().any(|one| is_same(one, &child));
        if adopted && let Some(pid) = Pid::from_raw(child.pid) {
            let _ = waitid(
                WaitId::Pid(pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            );
        }
    }
    let is_there =
        |one: &ProcessStat| ProcessStat::read(one.pid).is_some_and(|now| is_same(&now, one));
    killed.into_iter().filter(is_there).collect()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::Stdio};

    use tokio::time::Instant;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    /// How many processes have this text in their command line.
    fn left(text: &str) -> usize {
        let with = |one: &ProcessStat| {
            let line = fs::read(format!("/proc/{}/cmdline", one.pid)).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        };
        ProcessStat::all().unwrap().filter(with).count()
    }

    /// How many children of ours nobody has waited for.
    fn zombies() -> usize {
        let me = getpid().as_raw_nonzero().get();
        let all = ProcessStat::all().unwrap();
        all.filter(|one| one.ended && one.parent == me).count()
    }

    async fn until(what: impl Fn() -> bool) {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(10), "never");
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let me = i32::try_from(std::process::id()).unwrap();
        let process = ProcessStat::read(me).unwrap();
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert_eq!(
            (process.pid, process.parent, process.ended),
            (me, parent, false)
        );
        assert!(ProcessStat::all().unwrap().any(|one| one == process));
    }

    #[tokio::test]
    async fn no_descendant_survives_whatever_it_does_to_get_away() {
        let mark = format!("86400.{}", std::process::id());
        for script in [
            // In a loop, each in a session of its own, without a parent.
            format!(
                "while :; do setsid sh -c 'setsid sleep {mark} & setsid sleep {mark} &'; sleep 0.01; done"
            ),
            // The loop itself is away.
            format!("setsid sh -c 'while :; do setsid sleep {mark} & sleep 0.01; done' & wait"),
            // Without an environment, below one that is away.
            format!(
                "setsid sh -c 'env -i setsid sleep {mark} & env -i sleep {mark} & sleep {mark}' & wait"
            ),
        ] {
            let mut group = Group::spawn(&mut shell(&script)).unwrap();
            until(|| left(&format!("sleep\0{mark}")) >= 3).await;
            let status = group.end().await.unwrap();
            assert_eq!(status.signal(), Some(9), "{script}");
            assert_eq!((left(&mark), zombies()), (0, 0), "{script}");
        }
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_at_its_own_end_is_ended_too() {
        let mark = format!("86401.{}", std::process::id());
        let script = format!("setsid sleep {mark} & sleep {mark} & exit 3");
        let mut group = Group::spawn(&mut shell(&script)).unwrap();
        group.has_ended().await.unwrap();
        assert_eq!(group.end().await.unwrap().code(), Some(3));
        assert_eq!((left(&mark), zombies()), (0, 0));
    }

    #[tokio::test]
    async fn one_that_is_dropped_ends_and_others_go_on() {
        let mark = format!("86402.{}", std::process::id());
        let script = |end: char| format!("setsid sleep {mark}{end} & wait");
        let stays = Group::spawn(&mut shell(&script('1'))).unwrap();
        let goes = Group::spawn(&mut shell(&script('2'))).unwrap();
        let (one, two) = (format!("sleep\0{mark}1"), format!("sleep\0{mark}2"));
        until(|| left(&one) == 1 && left(&two) == 1).await;
        drop(goes);
        until(|| left(&two) == 0 || left(&one) == 0).await;
        assert_eq!(left(&one), 1);
        drop(stays);
    }

    #[tokio::test]
    async fn a_server_that_a_command_starts_may_go_on_and_none_is_left_of_it_at_its_deadline() {
        let mark = format!("86403.{}", std::process::id());
        let mut command = shell(&format!("setsid sleep {mark} >&- 2>&- & echo started"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = Group::spawn(&mut command).unwrap().output().await.unwrap();
        assert_eq!(output.stdout, b"started\n");
        let running = format!("sleep\0{mark}");
        until(|| left(&running) == 1).await;
        let me = getpid().as_raw_nonzero().get();
        for process in below(me, ProcessStat::all().unwrap().collect()) {
            process.kill();
        }
        let late = format!("setsid sleep {mark} & wait");
        let output = Group::spawn(&mut shell(&late)).unwrap().output();
        let _ = tokio::time::timeout(Duration::from_millis(200), output).await;
        until(|| left(&running) == 0).await;
    }
}
