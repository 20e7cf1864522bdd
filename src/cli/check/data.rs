//! Data that has one owner: what several replicas must not write to at once.

use super::{CheckCode, CheckReport};
use crate::project::{
    Service, Volume,
    stateful::{self, Data},
};

/// Looks at what the replicas of a service would write to.
pub(super) fn check_data(service: &Service, report: &mut CheckReport) {
    let name = &service.name;
    let leave = || format!("remove `x-autoscale` from {name}; scale the services that use it");
    for found in stateful::of(service) {
        match found {
            Data::Database {
                why,
                is_certain: true,
                shared: Some(volume),
            } => report.error(
                CheckCode::SingleWriter,
                name,
                format!(
                    "{why}, and all replicas would write to {}, which destroys the data",
                    shown(volume)
                ),
                leave(),
            ),
            Data::Database {
                why,
                is_certain: false,
                shared: Some(volume),
            } => report.warn(
                CheckCode::SingleWriter,
                name,
                format!(
                    "{why}, by its name a database, and all replicas would write to {}",
                    shown(volume)
                ),
                leave(),
            ),
            Data::Database {
                why, shared: None, ..
            } => report.warn(
                CheckCode::Database,
                name,
                format!(
                    "{why}: every replica would have its own data, and clients would get different answers"
                ),
                leave(),
            ),
            Data::OneProgram(volume) => report.warn(
                CheckCode::SingleWriter,
                name,
                format!(
                    "all replicas write to {}, which looks like the data of one program",
                    shown(volume)
                ),
                "keep the data in a separate database, or mount it `:ro` if it is only read",
            ),
            Data::Shared(volume) => report.hint(
                CheckCode::SharedVolume,
                name,
                format!("all replicas write to {}", shown(volume)),
                "fine if the app expects it; else mount it `:ro`",
            ),
        }
    }
}

fn shown(volume: &Volume) -> String {
    let source = volume.source.as_deref().unwrap_or_default();
    let source = match volume.kind.as_str() {
        "volume" => format!("the volume {source}"),
        _ => source.to_owned(),
    };
    format!("{source} ({})", volume.target)
}

#[cfg(test)]
mod tests {
    use super::super::service::fixture::{codes, report};

    #[test]
    fn a_database_is_an_error_where_its_data_is_shared_and_a_warning_where_it_is_not() {
        for image in [
            "postgres:17",
            "docker.io/library/mysql@sha256:0",
            "bitnami/redis",
            "mcr.microsoft.com/mssql/server:2022",
        ] {
            let yaml = |volumes: &str| {
                let yaml = format!(
                    "services: {{db: {{image: \"{image}\", {volumes} x-autoscale: {{max: 3}}}}}}\nvolumes: {{data: {{}}}}\n"
                );
                report(&yaml).codes()
            };
            assert!(yaml("").contains(&"warning database".to_owned()), "{image}");
            let shared = yaml("volumes: [\"data:/var/lib/data\"],");
            assert!(
                shared.contains(&"error single-writer".to_owned()),
                "{image}"
            );
        }
    }

    #[test]
    fn a_database_under_another_name_is_told_by_where_its_data_is() {
        let found = codes("    volumes: [\"things:/var/lib/mysql\"]\n", "");
        assert_eq!(found, ["error single-writer"]);
        let read = codes("    volumes: [\"things:/var/lib/mysql:ro\"]\n", "");
        assert_eq!(read, [""; 0]);
    }

    #[test]
    fn data_of_one_program_is_told_apart_from_files_that_are_shared() {
        for (mount, code) in [
            ("things:/var/lib/app", Some("warning single-writer")),
            (
                "./shop.sqlite:/app/shop.sqlite",
                Some("warning single-writer"),
            ),
            ("things:/app/data", Some("warning single-writer")),
            ("things:/uploads", Some("hint shared-volume")),
            ("things:/uploads:ro", None),
            ("/var/run/docker.sock:/var/run/docker.sock", None),
            ("/etc/localtime:/etc/localtime", None),
            ("/anonymous", None),
        ] {
            let found = codes(&format!("    volumes: [\"{mount}\"]\n"), "");
            assert_eq!(found.first().map(String::as_str), code, "{mount}");
        }
        let sqlite = "    volumes: [\"things:/app\"]
    environment: {DATABASE_URL: \"sqlite:///app/x\"}\n";
        assert_eq!(codes(sqlite, ""), ["warning single-writer"]);
    }

    #[test]
    fn one_replica_at_most_may_write_what_it_likes() {
        let one = "    volumes: [\"things:/var/lib/app\"]\n    x-autoscale: {max: 1}\n";
        assert_eq!(codes(one, ""), [""; 0]);
    }
}
