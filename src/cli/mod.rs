//! The command line: one verb per file.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{
    compose::{self, Loaded},
    control::{Client, ControlRequest},
    engine::docker::Docker,
    state::StateDir,
    telemetry::{self, log},
};

mod check;
mod config;
mod demo;
mod driver_setup;
mod explain;
mod export;
mod failure;
mod help;
mod history;
mod init;
mod man;
mod output;
mod pause;
mod progress;
mod ps;
mod scale;
mod simulate;
mod sync;
mod watch;

pub use check::CODES;
pub use failure::{Failure, code};

/// The heading of the options that every command takes.
const GLOBAL: &str = "Global options";

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line, 69 Engine unreachable, \
                          75 another process holds the project, 78 wrong compose file or policy";

/// Autoscaling for plain `docker compose` on one server, with nginx kept in step.
#[derive(Debug, Parser)]
#[command(
    name = "compose-scale",
    version,
    about,
    after_help = EXIT_CODES,
    after_long_help = format!("{}\n\n{EXIT_CODES}", help::text(""))
)]
struct Cli {
    #[command(flatten)]
    project: ProjectArgs,
    /// Print debug messages too
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    verbose: bool,
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        global = true,
        help_heading = GLOBAL,
        help = "Log format on standard error [env: COMPOSE_SCALE_LOG_FORMAT] [default: text]"
    )]
    log_format: Option<LogFormat>,
    #[command(subcommand)]
    verb: Verb,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl From<LogFormat> for log::LineFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// Which project, as in `docker compose`.
#[derive(Debug, Args)]
struct ProjectArgs {
    /// Compose file; give it several times to merge files
    #[arg(short, long = "file", value_name = "FILE", global = true, help_heading = GLOBAL)]
    files: Vec<PathBuf>,
    /// Project name
    #[arg(short, long, value_name = "NAME", global = true, help_heading = GLOBAL)]
    project_name: Option<String>,
    /// Project directory; relative paths in the compose file start here
    #[arg(long, value_name = "DIR", global = true, help_heading = GLOBAL)]
    project_directory: Option<PathBuf>,
    /// File with variables for the compose file, instead of .env
    #[arg(long = "env-file", value_name = "FILE", global = true, help_heading = GLOBAL)]
    env_files: Vec<PathBuf>,
    /// Enable this profile; may be repeated
    #[arg(long = "profile", value_name = "NAME", global = true, help_heading = GLOBAL)]
    profiles: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set up a project: add a policy and nginx; shows a diff first
    #[command(after_long_help = help::text("init"))]
    Init(init::InitArgs),
    /// Scale every service with a policy by its load, and keep nginx in step
    #[command(after_long_help = help::text("watch"))]
    Watch(watch::WatchArgs),
    /// Scale services by hand: wait for new replicas, drain old ones
    #[command(after_long_help = help::text("scale"))]
    Scale(scale::ScaleArgs),
    /// Show services, replicas, load, and the reason of the last decision
    #[command(after_long_help = help::text("ps"))]
    Ps(ps::PsArgs),
    /// Show past changes and failures: when, why, and who asked
    #[command(after_long_help = help::text("history"))]
    History(history::HistoryArgs),
    /// Pause autoscaling of services
    #[command(after_long_help = help::text("pause"))]
    Pause(pause::PauseArgs),
    /// Resume autoscaling of services
    #[command(after_long_help = help::text("resume"))]
    Resume(pause::ResumeArgs),
    /// Bring nginx in step with the running replicas
    #[command(after_long_help = help::text("sync"))]
    Sync(sync::SyncArgs),
    /// Print the project with all defaults
    #[command(after_long_help = help::text("config"))]
    Config(config::ConfigArgs),
    /// Find problems that stop scaling or cause trouble later, each with the fix
    #[command(after_long_help = help::text("check"))]
    Check(check::CheckArgs),
    /// Explain past decisions step by step
    #[command(after_long_help = help::text("explain"))]
    Explain(explain::ExplainArgs),
    /// Test policies on a simulated load: cost, latency, failed requests
    #[command(after_long_help = help::text("simulate"))]
    Simulate(Box<simulate::SimulateArgs>),
    /// Show scaling on a simulated server, in a minute; needs no Docker
    #[command(after_long_help = help::text("demo"))]
    Demo(demo::DemoArgs),
    /// Export the project and its policies as Kubernetes manifests
    #[command(after_long_help = help::text("export"))]
    Export(export::ExportArgs),
    /// Print a completion script for a shell
    #[command(after_long_help = help::text("completions"))]
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    #[command(after_long_help = help::text("man"))]
    Man(man::ManArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && wants_json() => {
            let text = error.render().to_string();
            return fail_in_json(text.trim_end(), None, code::USAGE);
        }
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { code::USAGE } else { 0 });
        }
    };
    let format = match log_format(cli.log_format) {
        Ok(format) => format,
        Err(failure) => return fail(&failure),
    };
    // The demonstration tells its story itself.
    log::start(cli.verbose, matches!(cli.verb, Verb::Demo(_)), format);
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

/// Says why, and what to do about it.
fn fail(failure: &Failure) -> ExitCode {
    let code = failure.code();
    if code == 0 || matches!(failure, Failure::Said) {
        return ExitCode::from(code);
    }
    let text = failure.to_string();
    let hint = failure.hint();
    if log::is_json() {
        return fail_in_json(&text, hint, code);
    }
    let mut stderr = anstream::stderr().lock();
    for line in text.lines().chain(hint.as_deref()) {
        let _ = writeln!(stderr, "compose-scale: {}", telemetry::plain(line));
    }
    ExitCode::from(code)
}

fn fail_in_json(text: &str, hint: Option<String>, code: u8) -> ExitCode {
    let mut further = vec![("exit_code", code.into())];
    further.extend(hint.map(|hint| ("hint", hint.into())));
    let line = log::json_line(tracing::Level::ERROR, text, further);
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(code)
}

/// The form that the flag asks for, else the environment.
fn log_format(flag: Option<LogFormat>) -> Result<log::LineFormat, Failure> {
    if let Some(format) = flag {
        return Ok(format.into());
    }
    let text = std::env::var(log::FORMAT).unwrap_or_default();
    match text.as_str() {
        "" => Ok(log::LineFormat::Text),
        text => LogFormat::from_str(text, false)
            .map(Into::into)
            .map_err(|_| {
                let name = log::FORMAT;
                Failure::Usage(format!("{name} is `{text}`, expected text or json"))
            }),
    }
}

/// Whether a command line that makes no sense asks for JSON all the same.
fn wants_json() -> bool {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let flag = words.iter().any(|word| word == "--log-format=json")
        || words
            .windows(2)
            .any(|pair| pair[0] == "--log-format" && pair[1] == "json");
    flag || matches!(log_format(None), Ok(log::LineFormat::Json))
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let project = cli.project;
    match cli.verb {
        Verb::Config(args) => driver_setup::block_on(config::run(&project, &args)),
        Verb::Explain(args) => explain::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Simulate(args) => simulate::run(&project, &args),
        Verb::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "compose-scale", &mut text);
            output::write(&text)
        }
        Verb::Man(args) => man::run(&args),
        Verb::Init(args) => driver_setup::block_on(init::run(&project, args)),
        Verb::Watch(args) => driver_setup::block_on(watch::run(&project, args)),
        Verb::Scale(args) => driver_setup::block_on(scale::run(&project, args)),
        Verb::Ps(args) => driver_setup::block_on(ps::run(&project, args)),
        Verb::History(args) => driver_setup::block_on(history::run(&project, args)),
        Verb::Pause(args) => driver_setup::block_on(pause::run(&project, args)),
        Verb::Resume(args) => driver_setup::block_on(pause::resume(&project, args)),
        Verb::Sync(args) => driver_setup::block_on(sync::run(&project, args)),
        Verb::Export(args) => driver_setup::block_on(export::run(&project, &args)),
        Verb::Check(args) => driver_setup::block_on(check::run(&project, args)),
    }
}

impl ProjectArgs {
    /// What the loader is asked for: the flags, the directory and the environment of this process.
    fn request(&self, named: &[String]) -> Result<compose::LoadRequest, Failure> {
        Ok(compose::LoadRequest {
            files: self.files.clone(),
            project_name: self.project_name.clone(),
            project_directory: self.project_directory.clone(),
            env_files: self.env_files.clone(),
            profiles: self.profiles.clone(),
            cwd: working_directory()?,
            env: environment(),
            named_services: named.to_vec(),
            stdin: self.standard_input()?,
        })
    }

    /// The state directory of a project whose files cannot be loaded, where a running `watch` may
    /// still know it as it was.
    fn state_despite(&self, failure: &Failure) -> Option<StateDir> {
        let name = match failure {
            Failure::Load(_) => compose::likely_name(&self.request(&[]).ok()?)?,
            // Found by its name, and its files are gone.
            Failure::Running(_) => self.project_name.clone()?,
            _ => return None,
        };
        Some(StateDir::locate(&environment(), &name))
    }

    /// Asks a running `watch` of a project whose files cannot be loaded: it still knows the project as it
    /// was, and checks what is asked.
    async fn ask_despite(&self, failure: &Failure, ask: &ControlRequest) -> Option<Client> {
        let state = self.state_despite(failure)?;
        let client = Client::ask(&state.socket(), ask).await.ok()??;
        tracing::warn!(
            "the compose file cannot be used; `watch` keeps the previous one:\n{failure}"
        );
        Some(client)
    }

    /// What is on standard input, where a file named `-` asks for it.
    fn standard_input(&self) -> Result<Option<String>, Failure> {
        if self.files.iter().any(|file| file.as_os_str() == "-") {
            Ok(Some(io::read_to_string(io::stdin())?))
        } else {
            Ok(None)
        }
    }

    /// Loads the project and says its warnings. Without a file anywhere near, the containers of a
    /// project that is named say where its files are.
    async fn load(&self, named: &[String]) -> Result<(compose::LoadRequest, Loaded), Failure> {
        let mut request = self.request(named)?;
        let loaded = match compose::load(&request) {
            Err(error) if error.is_not_found() => {
                driver_setup::ask_containers(&mut request, error).await?;
                compose::load(&request)?
            }
            other => other?,
        };
        for warning in &loaded.warnings {
            tracing::warn!("{}", telemetry::plain(warning));
        }
        Ok((request, loaded))
    }
}

/// The working directory by the name that the shell shows: a directory that was entered through a link has
/// the link's name, and compose names the project after it.
fn working_directory() -> io::Result<PathBuf> {
    let real = std::env::current_dir()?;
    let shown = std::env::var_os("PWD").map(PathBuf::from);
    let identity = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    let is_same = |shown: &PathBuf| {
        shown.is_absolute() && identity(shown).is_some_and(|one| identity(&real) == Some(one))
    };
    Ok(shown.filter(is_same).unwrap_or(real))
}

/// This process's environment, as far as it is text.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn engine() -> Result<Docker, Failure> {
    let set = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
    let host = set("DOCKER_HOST");
    if set("DOCKER_TLS_VERIFY").is_some() && host.as_deref().is_some_and(|h| h.starts_with("tcp")) {
        return Err(Failure::Usage(
            "DOCKER_TLS_VERIFY is set, and TLS to an Engine is not supported; use its unix socket"
                .into(),
        ));
    }
    Ok(Docker::connect(host.as_deref())?)
}

fn state_dir(loaded: &Loaded) -> StateDir {
    StateDir::locate(&environment(), &loaded.project.name)
}
