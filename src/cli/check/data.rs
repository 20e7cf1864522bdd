//! Data that has one owner: what several replicas must not write to at once.

use std::path::Path;

use super::{Code, Report};
use crate::project::{Service, Volume, image_word};

/// Images whose data has one owner.
const DATABASES: &[&str] = &[
    "cassandra",
    "clickhouse-server",
    "cockroach",
    "consul",
    "couchdb",
    "elasticsearch",
    "etcd",
    "influxdb",
    "kafka",
    "keydb",
    "mariadb",
    "meilisearch",
    "minio",
    "mongo",
    "mongodb",
    "mysql",
    "mysql-server",
    "neo4j",
    "opensearch",
    "percona",
    "percona-server",
    "postgis",
    "postgres",
    "postgresql",
    "rabbitmq",
    "redis",
    "redis-stack-server",
    "solr",
    "timescaledb",
    "typesense",
    "valkey",
    "zookeeper",
];
/// Last parts of a path that hold what one program keeps for itself.
const DATA: &[&str] = &["data", "db", "database", "pgdata", "sqlite"];

/// Looks at what the replicas of a service would write to.
pub(super) fn the_data(service: &Service, report: &mut Report) {
    let name = &service.name;
    let written: Vec<_> = service.volumes.iter().filter(|one| is_data(one)).collect();
    let database = service.image.as_deref().and_then(database);
    if let Some(database) = database {
        if let Some(volume) = written.first() {
            report.error(
                Code::SingleWriter,
                name,
                format!(
                    "it is {database}, and all replicas would write to {}: that destroys the data",
                    shown(volume)
                ),
                format!("remove `x-autoscale` from {name}; scale the services that use it"),
            );
        } else {
            report.warn(
                Code::Database,
                name,
                format!("it is {database}: every replica would have data of its own, and clients would find now this, now that"),
                format!("remove `x-autoscale` from {name}; scale the services that use it"),
            );
        }
        return;
    }
    let uses_sqlite = service.environment.iter().flatten().any(|(_, value)| {
        let value = value.as_deref().unwrap_or_default();
        value.to_ascii_lowercase().contains("sqlite")
    });
    for volume in written {
        if uses_sqlite || keeps_data(volume) {
            report.warn(
                Code::SingleWriter,
                name,
                format!(
                    "all replicas write to {}, which looks like the data of one program",
                    shown(volume)
                ),
                "keep the data in a database of its own; or mount it `:ro`, where it is only read",
            );
        } else {
            report.hint(
                Code::SharedVolume,
                name,
                format!("all replicas write to {}", shown(volume)),
                "fine for an app that expects it; else mount it `:ro`",
            );
        }
    }
}

/// The name of a database, where an image's name says that it is one.
fn database(image: &str) -> Option<&str> {
    if image.split('@').next()?.contains("/mssql/") {
        return Some("mssql");
    }
    let last = image_word(image);
    DATABASES.contains(&last).then_some(last)
}

/// Whether it is one directory or file for all replicas that may be written, and no device or socket.
fn is_data(volume: &Volume) -> bool {
    let Some(source) = &volume.source else {
        return false;
    };
    let outside = ["/dev", "/proc", "/sys", "/run", "/var/run", "/etc"];
    let is_outside = outside
        .iter()
        .any(|dir| source == dir || source.starts_with(&format!("{dir}/")));
    match volume.kind.as_str() {
        "volume" => !volume.read_only,
        "bind" => !volume.read_only && !is_outside && !has_ending(source, &["sock"]),
        _ => false,
    }
}

/// Whether a mount looks like what one program keeps for itself.
fn keeps_data(volume: &Volume) -> bool {
    let source = volume.source.as_deref().unwrap_or_default();
    let paths = [volume.target.trim_end_matches('/'), source];
    let is_file = |path: &str| has_ending(path, &["db", "sqlite", "sqlite3"]);
    let last = paths[0].rsplit('/').next().unwrap_or_default();
    paths[0].starts_with("/var/lib/") || DATA.contains(&last) || paths.iter().any(|p| is_file(p))
}

fn has_ending(path: &str, endings: &[&str]) -> bool {
    let ending = Path::new(path).extension();
    ending.is_some_and(|ending| endings.iter().any(|one| ending == *one))
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
    use super::{
        super::service::fixture::{codes, report},
        *,
    };

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
        assert_eq!(database("prometheuscommunity/postgres-exporter:v1"), None);
        assert_eq!(database("my/app"), None);
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
