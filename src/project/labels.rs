//! Every label that compose puts on a replica and that this tool reads or writes.

/// The project's name. Every listing filters on it.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service's name.
pub const SERVICE: &str = "com.docker.compose.service";
/// sha256 of the resolved service; a listing requires it to exist.
pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// `False` on a replica, `True` on a container of `compose run`.
pub const ONEOFF: &str = "com.docker.compose.oneoff";
/// `1`, `2`, …
pub const NUMBER: &str = "com.docker.compose.container-number";
/// The id that the image's name had when the replica was made.
pub const IMAGE: &str = "com.docker.compose.image";
/// Only on a container made by a recreate; never copied to a new replica.
pub const REPLACE: &str = "com.docker.compose.replace";
/// The absolute project directory.
pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// The absolute compose files, joined by commas; `-` for standard input.
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// Absolute paths of the env files that were asked for, joined by commas; missing when there are none.
pub const ENVIRONMENT_FILE: &str = "com.docker.compose.project.environment_file";
/// The version of compose that made the container.
pub const VERSION: &str = "com.docker.compose.version";
/// What has to be there first: `SERVICE:CONDITION:RESTART`, joined by commas.
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// On a network: its key in the compose file.
pub const NETWORK: &str = "com.docker.compose.network";
/// On a volume: its key in the compose file.
pub const VOLUME: &str = "com.docker.compose.volume";
