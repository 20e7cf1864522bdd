//! Data that has one owner: what several replicas must not write to at once, told by a service's image
//! and by where its volumes are mounted.

use std::path::Path;

use super::{
    Service, Volume,
    images::{ImageKind, KnownImage},
};

/// Where databases keep their data, whatever the image is called.
const HOMES: &[(&str, &str)] = &[
    ("/bitnami/mariadb", "MariaDB"),
    ("/bitnami/mongodb", "MongoDB"),
    ("/bitnami/mysql", "MySQL"),
    ("/bitnami/postgresql", "PostgreSQL"),
    ("/bitnami/redis", "Redis"),
    ("/data/db", "MongoDB"),
    ("/meili_data", "Meilisearch"),
    ("/usr/share/elasticsearch/data", "Elasticsearch"),
    ("/usr/share/opensearch/data", "OpenSearch"),
    ("/var/lib/cassandra", "Cassandra"),
    ("/var/lib/clickhouse", "ClickHouse"),
    ("/var/lib/etcd", "etcd"),
    ("/var/lib/influxdb", "InfluxDB"),
    ("/var/lib/influxdb2", "InfluxDB"),
    ("/var/lib/mongodb", "MongoDB"),
    ("/var/lib/mysql", "MySQL"),
    ("/var/lib/neo4j", "Neo4j"),
    ("/var/lib/postgresql", "PostgreSQL"),
    ("/var/lib/rabbitmq", "RabbitMQ"),
    ("/var/lib/redis", "Redis"),
    ("/var/opt/mssql", "SQL Server"),
];
/// Last parts of a path that hold what one program keeps for itself.
const DATA: &[&str] = &["data", "db", "database", "pgdata", "sqlite", "storage"];

/// What the replicas of a service would have in common, or should have and would not.
#[derive(Debug, Clone, PartialEq)]
pub enum Data<'a> {
    /// It is a database.
    Database {
        /// What tells so.
        why: String,
        /// Whether it is one, and not only called like one.
        is_certain: bool,
        /// What all replicas would write to; `None` where each would have data of its own.
        shared: Option<&'a Volume>,
    },
    /// It looks like what one program keeps for itself, and all replicas would write to it.
    OneProgram(&'a Volume),
    /// All replicas would write to it.
    Shared(&'a Volume),
}

/// Everything of that kind; a database is that alone.
pub fn of(service: &Service) -> Vec<Data<'_>> {
    let written: Vec<_> = service.volumes.iter().filter(|one| is_data(one)).collect();
    let named = service
        .known_image()
        .filter(|image| image.kind == ImageKind::Data);
    let lives = written
        .iter()
        .find_map(|volume| Some((*volume, home(volume)?)));
    if let Some(KnownImage {
        word, is_certain, ..
    }) = named
    {
        return vec![Data::Database {
            why: format!("its image is {word}"),
            is_certain: is_certain || lives.is_some(),
            shared: lives.map_or_else(|| written.first().copied(), |(volume, _)| Some(volume)),
        }];
    }
    if let Some((volume, name)) = lives {
        return vec![Data::Database {
            why: format!("{} is where {name} keeps its data", volume.target),
            is_certain: true,
            shared: Some(volume),
        }];
    }
    let uses_sqlite = service.environment.iter().flatten().any(|(_, value)| {
        let value = value.as_deref().unwrap_or_default();
        value.to_ascii_lowercase().contains("sqlite")
    });
    written
        .into_iter()
        .map(|volume| {
            if uses_sqlite || keeps_data(volume) {
                Data::OneProgram(volume)
            } else {
                Data::Shared(volume)
            }
        })
        .collect()
}

/// The database that keeps its data where a volume is mounted.
fn home(volume: &Volume) -> Option<&'static str> {
    let target = Path::new(&volume.target);
    let found = HOMES.iter().find(|(home, _)| target.starts_with(home))?;
    Some(found.1)
}

/// Whether it is one directory or file for all replicas that may be written, and no device or socket.
fn is_data(volume: &Volume) -> bool {
    let Some(source) = &volume.source else {
        return false;
    };
    let outside = ["/dev", "/proc", "/sys", "/run", "/var/run", "/etc"];
    let is_outside = outside.iter().any(|dir| Path::new(source).starts_with(dir));
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
    let is_named = |path: &str| DATA.contains(&path.rsplit('/').next().unwrap_or_default());
    // The key of a named volume is a name that somebody chose, and says little.
    paths[0].starts_with("/var/lib/")
        || is_named(paths[0])
        || volume.kind == "bind" && is_named(source)
        || paths.iter().any(|path| is_file(path))
}

fn has_ending(path: &str, endings: &[&str]) -> bool {
    let ending = Path::new(path).extension();
    ending.is_some_and(|ending| endings.iter().any(|one| ending == *one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(image: &str, mounts: &[(&str, &str)]) -> Vec<String> {
        let volume = |(source, target): &(&str, &str)| Volume {
            kind: if source.starts_with('/') {
                "bind"
            } else {
                "volume"
            }
            .into(),
            source: Some((*source).to_owned()),
            target: (*target).to_owned(),
            read_only: false,
        };
        let service = Service {
            image: Some(image.to_owned()),
            volumes: mounts.iter().map(volume).collect(),
            ..Service::default()
        };
        let told = |data: Data<'_>| match data {
            Data::Database { why, shared, .. } => {
                format!("{why}, shared: {:?}", shared.map(|one| &one.target))
            }
            Data::OneProgram(volume) => format!("one program: {}", volume.target),
            Data::Shared(volume) => format!("shared: {}", volume.target),
        };
        of(&service).into_iter().map(told).collect()
    }

    #[test]
    fn a_database_is_told_by_its_image_and_by_where_its_data_is() {
        assert_eq!(
            told("bitnami/redis:7", &[]),
            ["its image is redis, shared: None"]
        );
        assert_eq!(
            told(
                "mcr.microsoft.com/mssql/server:2022",
                &[("d", "/x"), ("e", "/var/opt/mssql")]
            ),
            ["its image is mssql, shared: Some(\"/var/opt/mssql\")"]
        );
        assert_eq!(
            told(
                "registry.example.com/shop/store:1",
                &[("d", "/var/lib/postgresql/data")]
            ),
            [
                "/var/lib/postgresql/data is where PostgreSQL keeps its data, shared: Some(\"/var/lib/postgresql/data\")"
            ]
        );
        assert_eq!(
            told("prometheuscommunity/postgres-exporter:v1", &[]),
            [""; 0]
        );
        assert_eq!(told("my/app", &[("d", "/data/dbs")]), ["shared: /data/dbs"]);
    }

    #[test]
    fn what_lies_outside_is_nobodys_data() {
        assert_eq!(
            told(
                "app",
                &[
                    ("/var/run/x.sock", "/x"),
                    ("/etc/localtime", "/l"),
                    ("/srv/up", "/up")
                ]
            ),
            ["shared: /up"]
        );
        assert_eq!(
            told("app", &[("/srv/shop.sqlite", "/shop"), ("d", "/app/data")]),
            ["one program: /shop", "one program: /app/data"]
        );
        assert_eq!(
            told(
                "app",
                &[
                    ("/srv/shop/storage", "/app/x"),
                    ("/srv/shop", "/app"),
                    ("data", "/app/up")
                ]
            ),
            ["one program: /app/x", "shared: /app", "shared: /app/up"]
        );
    }
}
