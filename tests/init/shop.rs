//! A project in a directory of its own, and `init` in it.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use assert_cmd::Command;
use compose_scale::{compose, files};
use tempfile::TempDir;

pub(crate) const ARTICLE: &str = "\
name: shop
services:
  web:
    image: my-web-app:latest
    ports:
      - \"8080:80\"
    deploy:
      replicas: 3
  db:
    image: postgres:17
    volumes: [data:/var/lib/postgresql/data]
volumes: {data: {}}
";

pub(crate) const PLAIN: &str = "services: {web: {image: my/web, ports: [\"8080:3000\"]}}\n";

pub(crate) struct Shop {
    directory: TempDir,
    programs: TempDir,
}

impl Shop {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let shop = Self {
            directory: tempfile::tempdir().unwrap(),
            programs: tempfile::tempdir().unwrap(),
        };
        for (path, text) in files {
            shop.write(path, text);
        }
        shop.compose("2.40.3")
    }

    /// The compose that is installed says it is of this release.
    pub(crate) fn compose(self, version: &str) -> Self {
        let docker = self.programs.path().join("docker");
        let text = format!("#!/bin/sh\necho {version}\n");
        files::replace(&docker, text.as_bytes()).unwrap();
        fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where `docker` is, which says its release and nothing else.
    pub(crate) fn programs(&self) -> &Path {
        self.programs.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        files::replace(&path, text.as_bytes()).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap()
    }

    pub(crate) fn init(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_compose-scale"));
        command
            .arg("init")
            .args(arguments)
            .current_dir(self.path())
            .env("PATH", self.programs.path())
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .env("COMPOSE_SCALE_STATE", self.programs.path().join("state"))
            .env("NO_COLOR", "1");
        for name in [
            "FILE",
            "PROJECT_NAME",
            "PROFILES",
            "ENV_FILES",
            "PATH_SEPARATOR",
        ] {
            command.env_remove(format!("COMPOSE_{name}"));
        }
        command
    }

    /// What it prints and says, and how it ends.
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        let output = self.init(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!(
            "{}---- says, and ends with {}\n{}",
            text(&output.stdout),
            output.status.code().unwrap(),
            text(&output.stderr)
        )
        .replace(
            &fs::canonicalize(self.path()).unwrap().display().to_string(),
            "DIR",
        )
    }

    /// Every file with its bytes and its mode.
    pub(crate) fn everything(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        fn below(directory: &Path, all: &mut BTreeMap<String, (u32, Vec<u8>)>) {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                let path = entry.path();
                let name = path.display().to_string();
                let mode = entry.metadata().unwrap().permissions().mode();
                if path.is_dir() {
                    all.insert(name, (mode, Vec::new()));
                    below(&path, all);
                } else {
                    all.insert(name, (mode, fs::read(&path).unwrap()));
                }
            }
        }
        let mut all = BTreeMap::new();
        below(self.path(), &mut all);
        all
    }

    pub(crate) fn load(&self) -> compose::Loaded {
        compose::load(&compose::LoadRequest {
            cwd: self.path().to_owned(),
            ..compose::LoadRequest::default()
        })
        .unwrap()
    }
}
