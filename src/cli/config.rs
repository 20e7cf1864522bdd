//! `compose-scale config`

use clap::{Args, ValueEnum};

use super::{Failure, ProjectArgs, output};
use crate::compose;

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

pub(super) fn run(project: &ProjectArgs, args: &ConfigArgs) -> Result<(), Failure> {
    let (_, loaded) = project.load(&[])?;
    match args.format {
        Format::Json => output::json(&compose::render::to_json(&loaded)),
        Format::Yaml => output::write(compose::render::to_yaml(&loaded).as_bytes()),
    }
}
