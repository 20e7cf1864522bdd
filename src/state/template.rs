//! Remembered replicas: `templates/SERVICE.json`, for their owner's eyes only.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{StateDir, StateError, io_error};
use crate::{
    files::{Directory, PRIVATE},
    project::remembered_replica::Template,
};

/// The version of the files that this program writes; one of another version is as good as none.
const VERSION: u32 = 1;
/// What only the owner may enter.
const DIRECTORY_MODE: u32 = 0o700;
/// Where the files are.
const DIRECTORY: &str = "templates";
/// None is longer: it is what the Engine says of one container.
const LARGEST: u64 = 16 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct StoredTemplate {
    version: u32,
    #[serde(flatten)]
    template: Template,
}

impl StateDir {
    /// What is remembered of a service's replicas; `None` when there is nothing, or nothing that
    /// this program understands.
    pub fn template(&self, service: &str) -> Result<Option<Template>, StateError> {
        let path = self.template_path(service);
        let read = Directory::at(&self.path)
            .and_then(|state| state.inner(DIRECTORY))
            .and_then(|directory| directory.read(file_name(service), LARGEST));
        let text = match read {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(&path, source)),
        };
        let stored = serde_json::from_slice::<StoredTemplate>(&text).ok();
        Ok(stored
            .filter(|stored| stored.version == VERSION && stored.template.service == service)
            .map(|stored| stored.template))
    }

    /// Remembers a replica; writes only when it differs from what is there. Returns whether it did.
    pub fn keep_template(&self, template: &Template) -> Result<bool, StateError> {
        let path = self.template_path(&template.service);
        self.make()?;
        let directory =
            Directory::at(&self.path).and_then(|state| state.make_inner(DIRECTORY, DIRECTORY_MODE));
        let directory = directory.map_err(|source| io_error(&self.path.join(DIRECTORY), source))?;
        let stored = StoredTemplate {
            version: VERSION,
            template: template.clone(),
        };
        let replaced = serde_json::to_vec_pretty(&stored)
            .map_err(io::Error::from)
            .and_then(|text| directory.replace(file_name(&template.service), &text, PRIVATE));
        replaced.map_err(|source| io_error(&path, source))
    }

    fn template_path(&self, service: &str) -> PathBuf {
        self.path.join(DIRECTORY).join(file_name(service))
    }
}

fn file_name(service: &str) -> String {
    format!("{service}.json")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::project::remembered_replica::Sealed;

    fn template() -> Template {
        Template {
            service: "web".into(),
            name: "shop-web-1".into(),
            number: 1,
            config_hash: "h1".into(),
            image: "web:latest".into(),
            image_id: "sha256:1".into(),
            environment: Sealed::seal(&["TOKEN=s3cret".into()], "00".into()),
            description: serde_json::json!({"Config": {"Cmd": ["run"]}}),
        }
    }

    #[test]
    fn a_template_comes_back_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("shop"));
        assert_eq!(state.template("web").unwrap(), None);
        assert!(state.keep_template(&template()).unwrap());
        assert!(!state.keep_template(&template()).unwrap(), "written twice");
        assert_eq!(state.template("web").unwrap(), Some(template()));

        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.path().join("templates")), 0o700);
        assert_eq!(mode(state.path().join("templates/web.json")), 0o600);
        let text = fs::read_to_string(state.template_path("web")).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "damages a file on purpose")]
    fn a_file_that_is_not_understood_is_no_template() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("shop"));
        state.keep_template(&template()).unwrap();
        let path = state.template_path("web");
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [
            text[..40].to_owned(),
            text.replace("\"version\": 1", "\"version\": 2"),
            text.replace("\"service\": \"web\"", "\"service\": \"api\""),
        ] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(state.template("web").unwrap(), None);
        }
    }
}
