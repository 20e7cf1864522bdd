//! An nginx that exists only in what it answers. It reads the real files of a directory.

use std::{fs, path::PathBuf, sync::Mutex};

use super::super::{CommandOutput, Control, ControlError, NginxProcess};

/// What it is told to do, and what was asked of it.
#[derive(Debug)]
pub(super) struct Behaviour {
    pub running: bool,
    pub identity: String,
    pub version: &'static str,
    /// A text that it does not accept in any file, and what it says then.
    pub rejects: Vec<(&'static str, &'static str)>,
    /// It takes the signal and does nothing.
    pub stuck: bool,
    /// It never answers `nginx -t`.
    pub hangs: bool,
    /// How many looks its old workers stay for.
    pub busy: u32,
    /// How many looks it takes until it has workers.
    pub starting: u32,
    /// The first process is not nginx.
    pub init: bool,
    /// What it calls itself.
    pub name: &'static str,
    /// It cannot be asked anything but who it is.
    pub deaf: bool,
    /// It reads this directory instead: one that was there before.
    pub reads: Option<PathBuf>,
    pub probes: u32,
    pub tests: u32,
    pub hangups: u32,
    pub commands: u32,
    pub active: Vec<u32>,
    pub leaving: Vec<(u32, u32)>,
    next: u32,
}

#[derive(Debug)]
pub(super) struct Fake {
    directory: PathBuf,
    state: Mutex<Behaviour>,
}

impl Fake {
    pub(super) fn new(directory: PathBuf) -> Self {
        let state = Behaviour {
            running: true,
            identity: "one".into(),
            version: "nginx version: nginx/1.30.6",
            rejects: Vec::new(),
            stuck: false,
            hangs: false,
            busy: 0,
            starting: 0,
            init: false,
            name: "shop-nginx-1",
            deaf: false,
            reads: None,
            probes: 0,
            tests: 0,
            hangups: 0,
            commands: 0,
            active: vec![101, 102],
            leaving: Vec::new(),
            next: 103,
        };
        Self {
            directory,
            state: Mutex::new(state),
        }
    }

    /// Looks at it or changes it.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Behaviour) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    fn alive(&self) -> Result<(), ControlError> {
        let running = self.with(|state| state.running);
        running.then_some(()).ok_or(ControlError::NotRunning)
    }

    /// As `nginx -T` prints it.
    fn included(&self) -> String {
        let directory = self.with(|state| state.reads.clone());
        let directory = directory.unwrap_or_else(|| self.directory.clone());
        let mut text = "# configuration file /etc/nginx/nginx.conf:\nhttp { }\n\n".to_owned();
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_text = |meta: fs::Metadata| meta.is_file() && meta.len() < 1 << 20;
            if !name.starts_with('.')
                && path.extension().is_some_and(|kind| kind == "conf")
                && fs::metadata(&path).is_ok_and(is_text)
            {
                text += "# configuration file /etc/nginx/upstreams/";
                text += name;
                text += ":\n";
                text += &fs::read_to_string(&path).unwrap();
                text += "\n";
            }
        }
        text
    }

    fn hears(&self) -> Result<(), ControlError> {
        self.alive()?;
        if self.with(|state| state.deaf) {
            let why = "it is paused".into();
            return Err(ControlError::Failed { why });
        }
        Ok(())
    }
}

impl Behaviour {
    /// Gives its processes other ids.
    pub(super) fn renumber(&mut self, first: u32) {
        self.active = vec![first + 1, first + 2];
        self.next = first + 3;
    }

    fn reload(&mut self) {
        if !self.stuck {
            let busy = self.busy;
            let old = std::mem::take(&mut self.active);
            self.leaving.extend(old.into_iter().map(|pid| (pid, busy)));
            self.active = vec![self.next, self.next + 1];
            self.next += 2;
        }
    }
}

impl Control for Fake {
    fn name(&self) -> String {
        self.with(|state| state.name.to_owned())
    }

    async fn identity(&self) -> Result<String, ControlError> {
        self.alive()?;
        Ok(self.with(|state| state.identity.clone()))
    }

    async fn run(&self, argv: &[String]) -> Result<CommandOutput, ControlError> {
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        if words == ["nginx", "-v"] {
            self.alive()?;
        } else {
            self.hears()?;
        }
        let answer = |code, stderr: &str| CommandOutput {
            code,
            stderr: stderr.to_owned(),
            ..CommandOutput::default()
        };
        match words.as_slice() {
            ["nginx", "-v"] => Ok(self.with(|state| {
                state.probes += 1;
                answer(0, state.version)
            })),
            ["nginx", "-T"] => {
                if self.with(|state| state.hangs) {
                    std::future::pending::<()>().await;
                }
                let text = self.included();
                Ok(self.with(|state| {
                    state.tests += 1;
                    let bad = state.rejects.iter().find(|(part, _)| text.contains(part));
                    match bad {
                        Some((_, said)) => {
                            answer(1, &format!("nginx: [emerg] {said}\nnginx: test failed\n"))
                        }
                        None => CommandOutput {
                            stdout: text.clone(),
                            ..answer(0, "nginx: test is successful\n")
                        },
                    }
                }))
            }
            ["nginx", "-s", "reload"] => Ok(self.with(|state| {
                state.commands += 1;
                state.reload();
                answer(0, "")
            })),
            _ => Ok(answer(127, "no such program")),
        }
    }

    async fn hup(&self) -> Result<(), ControlError> {
        self.hears()?;
        self.with(|state| {
            state.hangups += 1;
            state.reload();
        });
        Ok(())
    }

    async fn processes(&self) -> Result<Vec<NginxProcess>, ControlError> {
        self.alive()?;
        Ok(self.with(|state| {
            let process = |pid, ppid, args: &str| NginxProcess {
                pid,
                ppid,
                args: args.into(),
            };
            let mut rows = vec![process(100, 9, "nginx: master process nginx")];
            if state.init {
                rows.insert(0, process(9, 1, "/sbin/tini -- nginx"));
            }
            if state.starting > 0 {
                state.starting -= 1;
                return rows;
            }
            for pid in &state.active {
                rows.push(process(*pid, 100, "nginx: worker process"));
            }
            for (pid, looks) in &mut state.leaving {
                rows.push(process(*pid, 100, "nginx: worker process is shutting down"));
                *looks = looks.wrapping_sub(1);
            }
            state.leaving.retain(|(_, looks)| *looks != u32::MAX);
            rows
        }))
    }
}
