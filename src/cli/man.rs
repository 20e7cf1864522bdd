//! `compose-scale man` and `completions`: what an installer puts in its places.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{Cli, Failure, help, output};
use crate::files;

/// What the page of the program itself says at its end.
const EXIT: &[(&str, &str)] = &[
    ("0", "done"),
    ("1", "the work failed, or check found an error"),
    ("2", "wrong command line"),
    ("69", "the Engine cannot be reached"),
    ("75", "another process holds the project"),
    ("78", "the compose file or its policy is wrong"),
];
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "DOCKER_HOST",
        "the Engine: unix://PATH, or tcp://HOST:PORT without TLS; default: unix:///var/run/docker.sock",
    ),
    (
        "COMPOSE_FILE, COMPOSE_PROJECT_NAME, COMPOSE_PROFILES, COMPOSE_ENV_FILES",
        "as in docker compose; in .env too",
    ),
    ("COMPOSE_SCALE_STATE", "the state directory"),
    ("COMPOSE_SCALE_LOG", "log filter, for example debug"),
    ("COMPOSE_SCALE_LOG_FORMAT", "text or json, as --log-format"),
    ("COMPOSE_SCALE_STARTS", "containers started at once (4)"),
    ("NO_COLOR", "no colour"),
];
const FILES: &[(&str, &str)] = &[
    (
        "compose.yaml",
        "policies are its x-autoscale sections; see settings.md in the documentation",
    ),
    (
        "~/.local/state/compose-scale/PROJECT",
        "scaling.log, state.json, lock and control.sock; in $XDG_STATE_HOME if that is set, else in \
         /var/lib/compose-scale/PROJECT if that exists",
    ),
];

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Print the page of this command
    #[arg(value_name = "COMMAND", conflicts_with = "directory")]
    of: Option<String>,
    /// Write all pages into this directory
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let commands: Vec<Command> = program.get_subcommands().cloned().collect();
    if let Some(directory) = &args.directory {
        std::fs::create_dir_all(directory)?;
        for command in [program].into_iter().chain(commands) {
            let (name, text) = page(command)?;
            files::replace(&directory.join(name), &text)?;
        }
        return Ok(());
    }
    let command = match &args.of {
        None => program,
        Some(name) => commands
            .into_iter()
            .find(|command| command.get_name() == name)
            .ok_or_else(|| Failure::Usage(format!("there is no command `{name}`")))?,
    };
    output::write(&page(command)?.1)
}

/// The name of a page's file and its text.
fn page(command: Command) -> Result<(String, Vec<u8>), Failure> {
    let is_program = command.get_name() == "compose-scale";
    let more = help::of(if is_program { "" } else { command.get_name() });
    // The page has sections of its own for what `--help` shows below the options.
    let page = Man::new(
        command
            .after_help(None::<&str>)
            .after_long_help(None::<&str>)
            .version(env!("CARGO_PKG_VERSION")),
    )
    .source(concat!("compose-scale ", env!("CARGO_PKG_VERSION")))
    .manual("compose-scale");
    let mut text = Vec::new();
    page.render(&mut text)?;
    let mut end = Roff::new();
    if let Some(more) = more {
        examples(&mut end, more);
    }
    if is_program {
        section(&mut end, "EXIT STATUS", EXIT);
        section(&mut end, "ENVIRONMENT", ENVIRONMENT);
        section(&mut end, "FILES", FILES);
    }
    end.control("SH", ["SEE ALSO"]);
    if !is_program {
        end.text([bold("compose-scale"), roman("(1),")]);
    }
    if let Some(more) = more {
        end.text([roman(format!("{} in the documentation", more.page))]);
    }
    end.to_writer(&mut text)?;
    Ok((page.get_filename(), text))
}

fn examples(page: &mut Roff, more: &help::More) {
    page.control("SH", ["EXAMPLES"]);
    for (comment, line) in more.examples {
        page.control("TP", []);
        page.text([roman(*comment)]);
        page.text([bold(*line)]);
    }
}

fn section(page: &mut Roff, title: &str, rows: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (word, meaning) in rows {
        page.control("TP", []);
        page.text([bold(*word)]);
        page.text([roman(*meaning)]);
    }
}
