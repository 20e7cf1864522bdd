//! Data of a service that several replicas would write to.

use std::path::Path;

use crate::project::{Project, Service, Volume};

/// What every replica of a service would write to, in words; `None` where that is nothing, or nothing that
/// looks like the data of one program.
pub(super) fn shared(project: &Project, service: &Service) -> Option<String> {
    let written = || service.volumes.iter().filter(|volume| !volume.read_only);
    let source = |volume: &Volume| volume.source.clone().unwrap_or_default();
    let named = written().find(|volume| volume.kind == "volume" && volume.source.is_some());
    if let Some(volume) = named {
        return Some(format!("its volume {}", source(volume)));
    }
    let uses_sqlite = service.environment.iter().flatten().any(|(_, value)| {
        let value = value.as_deref().unwrap_or_default();
        value.to_ascii_lowercase().contains("sqlite")
    });
    let bound = written().find(|volume| {
        volume.kind == "bind" && is_own(&source(volume)) && (uses_sqlite || keeps_data(volume))
    })?;
    let source = source(bound);
    let inside = Path::new(&source).strip_prefix(&project.working_dir);
    let shown = inside.map_or(source.clone(), |path| format!("./{}", path.display()));
    Some(format!(
        "{shown} ({}), which looks like the data of one program",
        bound.target
    ))
}

/// Whether it is of the project, and no device, socket or setting of the machine.
fn is_own(source: &str) -> bool {
    let outside = ["/dev", "/proc", "/sys", "/run", "/var/run", "/etc"];
    let path = Path::new(source);
    !outside.iter().any(|dir| path.starts_with(dir)) && !has_ending(source, &["sock"])
}

/// Whether a mount looks like what one program keeps for itself.
fn keeps_data(volume: &Volume) -> bool {
    let paths = [
        volume.target.trim_end_matches('/'),
        volume.source.as_deref().unwrap_or_default(),
    ];
    let names = ["data", "db", "database", "pgdata", "sqlite", "storage"];
    volume.target.starts_with("/var/lib/")
        || paths.iter().any(|path| {
            let last = path.rsplit('/').next().unwrap_or_default();
            names.contains(&last) || has_ending(path, &["db", "sqlite", "sqlite3"])
        })
}

fn has_ending(path: &str, endings: &[&str]) -> bool {
    let ending = Path::new(path).extension();
    ending.is_some_and(|ending| endings.iter().any(|one| ending == *one))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(source: &str, target: &str, environment: &[(&str, &str)]) -> Option<String> {
        let project = Project {
            name: "shop".into(),
            working_dir: "/srv/shop".into(),
            config_files: Vec::new(),
            services: indexmap::IndexMap::new(),
            disabled_services: Vec::new(),
        };
        let pairs = environment
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())));
        let service = Service {
            volumes: vec![Volume {
                kind: "bind".into(),
                source: Some(source.into()),
                target: target.into(),
                read_only: false,
            }],
            environment: Some(pairs.collect::<BTreeMap<_, _>>()),
            ..Service::default()
        };
        shared(&project, &service)
    }

    #[test]
    fn a_directory_with_data_of_one_program_is_told_from_code_and_uploads() {
        for (source, target) in [
            ("/srv/shop/data", "/var/lib/app"),
            ("/srv/shop/state", "/var/lib/app"),
            ("/srv/shop/x", "/app/data/"),
            ("/srv/shop/storage", "/app/x"),
            ("/srv/shop/app.sqlite3", "/app/app.sqlite3"),
        ] {
            let found = of(source, target, &[]).unwrap();
            assert!(found.starts_with("./") && found.contains(target), "{found}");
        }
        for (source, target) in [
            ("/srv/shop", "/app"),
            ("/srv/shop/uploads", "/app/uploads"),
            ("/var/run/docker.sock", "/var/run/docker.sock"),
            ("/etc/localtime", "/etc/localtime"),
            ("/run/db", "/run/db"),
        ] {
            assert_eq!(of(source, target, &[]), None, "{source}");
        }
        let sqlite = [("DATABASE_URL", "sqlite:///app/x/shop.file")];
        assert!(of("/srv/shop/x", "/app/x", &sqlite).is_some());
    }
}
