//! nginx as a program of this host, found among its processes.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{CommandOutput, Control, ControlError, NginxProcess, command, workers::MASTER};
use crate::processes;

/// Where a program is looked for besides `PATH`, which for other users than root often lacks them.
const SYSTEM: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/nginx/sbin"];

/// The nginx that runs on this host outside of any container.
#[derive(Debug, Clone)]
pub struct HostNginx {
    /// The file that holds its process id, to tell it from others.
    pid_file: Option<PathBuf>,
    /// Whether others than root could do all that is to be done, by commands of the user's own.
    own_commands: bool,
    working_dir: PathBuf,
}

/// The process that all others of it come from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Master {
    pid: u32,
    started: u64,
    title: String,
    user: u32,
}

impl HostNginx {
    /// The one with that pid file, else the only one there is. `own_commands` says that neither
    /// testing nor reloading is left to it; `working_dir` is where it runs commands, absolute.
    pub fn new(pid_file: Option<PathBuf>, own_commands: bool, working_dir: PathBuf) -> Self {
        Self {
            pid_file,
            own_commands,
            working_dir,
        }
    }

    /// Whether this user may read its configuration and signal it; `true` where it does not run.
    pub fn is_open_to_us(&self) -> bool {
        let me = geteuid().as_raw();
        self.master()
            .map_or(true, |master| me == 0 || me == master.user)
    }

    /// The same command with the program and the configuration of the one that runs.
    fn command(&self, argv: &[String]) -> Result<Vec<String>, ControlError> {
        let (mut all, arguments) = command_of(&self.master()?.title);
        // The version needs none, and an old one takes none.
        if argv.get(1).is_none_or(|flag| flag != "-v") {
            all.extend(arguments);
        }
        all.extend(argv.iter().skip(1).cloned());
        Ok(all)
    }

    fn master(&self) -> Result<Master, ControlError> {
        if let Some(file) = &self.pid_file {
            let text = match fs::read_to_string(file) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(ControlError::NotRunning);
                }
                Err(error) => return Err(failed(format!("{}: {error}", file.display()))),
            };
            let pid = text.trim().parse().ok();
            return pid.and_then(read_master).ok_or(ControlError::NotRunning);
        }
        let masters: Vec<Master> = all()?
            .filter_map(|one| read_master(u32::try_from(one.pid).ok()?))
            .collect();
        match masters.as_slice() {
            [] => Err(ControlError::NotRunning),
            [master] => Ok(master.clone()),
            several => {
                let ids: Vec<String> = several.iter().map(|m| m.pid.to_string()).collect();
                Err(failed(format!(
                    "several of them run on this host (processes {}); say which one by its pid file: \
                     `x-autoscale: {{nginx: {{host: true, pid: /run/nginx.pid}}}}`",
                    ids.join(", ")
                )))
            }
        }
    }
}

impl Control for HostNginx {
    fn name(&self) -> String {
        "nginx on this host".into()
    }

    async fn identity(&self) -> Result<String, ControlError> {
        let master = self.master()?;
        if !self.own_commands && !self.is_open_to_us() {
            let me = geteuid().as_raw();
            return Err(failed(format!(
                "it runs as user {} (process {}) and compose-scale as user {me}, who may neither test \
                 nor reload it; run compose-scale as root, or set both `test` and `reload` under \
                 x-autoscale.nginx to commands that may, like [sudo, nginx, -t] and [sudo, systemctl, \
                 reload, nginx]",
                master.user, master.pid
            )));
        }
        Ok(format!("{} {}", master.pid, master.started))
    }

    async fn run(&self, argv: &[String]) -> Result<CommandOutput, ControlError> {
        command::run(&self.command(argv)?, &self.working_dir).await
    }

    async fn run_streamed(
        &self,
        argv: &[String],
        stdout: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<CommandOutput, ControlError> {
        command::run_streamed(&self.command(argv)?, &self.working_dir, stdout).await
    }

    async fn hup(&self) -> Result<(), ControlError> {
        let master = self.master()?;
        let pid = i32::try_from(master.pid).ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, Signal::HUP));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(failed(format!(
                "process {} cannot be signalled: {error}",
                master.pid
            ))),
            None => Err(ControlError::NotRunning),
        }
    }

    async fn processes(&self) -> Result<Vec<NginxProcess>, ControlError> {
        let master = self.master()?;
        let mut family = vec![NginxProcess {
            pid: master.pid,
            ppid: 0,
            args: master.title,
        }];
        let children = all()?.filter_map(|one| {
            let pid = u32::try_from(one.pid).ok()?;
            let is_child = u32::try_from(one.parent) == Ok(master.pid);
            Some(NginxProcess {
                pid,
                ppid: master.pid,
                args: is_child.then(|| read_title(pid))??,
            })
        });
        family.extend(children);
        Ok(family)
    }
}

fn failed(why: String) -> ControlError {
    ControlError::Failed { why }
}

fn all() -> Result<impl Iterator<Item = processes::ProcessStat>, ControlError> {
    processes::ProcessStat::all().map_err(|error| failed(format!("/proc: {error}")))
}

/// The master process of this id, unless it is that of a container or the next one in a change of
/// nginx's program.
fn read_master(pid: u32) -> Option<Master> {
    let title = read_title(pid).filter(|title| title.starts_with(MASTER))?;
    let process = processes::ProcessStat::read(i32::try_from(pid).ok()?)?;
    let parent = u32::try_from(process.parent).ok()?;
    if is_contained(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
        || read_title(parent).is_some_and(|title| title.starts_with(MASTER))
    {
        return None;
    }
    Some(Master {
        pid,
        started: process.started,
        title,
        user: fs::metadata(format!("/proc/{pid}")).ok()?.uid(),
    })
}

/// Whether a process has another id in a namespace of its own, by the text of its `status`.
fn is_contained(status: &str) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_whitespace().count() > 1)
}

/// nginx writes its title over its arguments, which leaves zeros behind.
fn read_title(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    Some(text.trim().to_owned())
}

/// The program of a master and the arguments that say which configuration it runs, from its title.
fn command_of(title: &str) -> (Vec<String>, Vec<String>) {
    let mut words = title
        .strip_prefix(MASTER)
        .unwrap_or_default()
        .split_whitespace()
        .peekable();
    let program = words.next().unwrap_or("nginx");
    let mut arguments = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "-p" | "-c" | "-e" => {
                arguments.push(word.to_owned());
                arguments.extend(words.next().map(str::to_owned));
            }
            // Its value has blanks itself and ends where the next option begins.
            "-g" => {
                let mut value = Vec::new();
                while let Some(next) = words.next_if(|word| !word.starts_with('-')) {
                    value.push(next);
                }
                arguments.extend(["-g".to_owned(), value.join(" ")]);
            }
            _ => {}
        }
    }
    (vec![found(program, std::env::var_os("PATH"))], arguments)
}

/// The path of a program that was called by its bare name.
fn found(program: &str, path: Option<OsString>) -> String {
    if program.contains('/') {
        return program.to_owned();
    }
    let path = path.unwrap_or_default();
    let places = std::env::split_paths(&path).chain(SYSTEM.iter().map(PathBuf::from));
    let mut files = places.map(|place| place.join(program));
    let file = files.find(|file| Path::is_file(file));
    file.map_or_else(|| program.to_owned(), |file| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(title: &str) -> Vec<String> {
        let (program, arguments) = command_of(&format!("{MASTER} {title}"));
        [program, arguments].concat()
    }

    #[test]
    fn the_configuration_it_runs_is_read_from_its_title() {
        assert_eq!(
            command("/usr/sbin/nginx -g daemon on; master_process on;"),
            ["/usr/sbin/nginx", "-g", "daemon on; master_process on;"]
        );
        assert_eq!(
            command("/opt/n -e stderr -p /srv/n -g daemon off; -c /srv/n/nginx.conf -q"),
            [
                "/opt/n",
                "-e",
                "stderr",
                "-p",
                "/srv/n",
                "-g",
                "daemon off;",
                "-c",
                "/srv/n/nginx.conf"
            ]
        );
        assert_eq!(
            found("no-such-program", Some("/bin".into())),
            "no-such-program"
        );
        assert_eq!(found("sh", Some("/nowhere:/bin".into())), "/bin/sh");
    }

    #[test]
    fn processes_of_containers_are_told_by_their_second_id() {
        assert!(!is_contained("Name:\tnginx\nNSpid:\t812\nThreads:\t1\n"));
        assert!(is_contained("Name:\tnginx\nNSpid:\t812\t1\n"));
        assert!(!is_contained("Name:\tnginx\n"));
    }

    #[test]
    fn a_program_that_is_no_nginx_is_no_master() {
        assert!(read_master(std::process::id()).is_none());
    }
}
