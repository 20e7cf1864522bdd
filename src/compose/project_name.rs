//! The likely name of a project whose files cannot be loaded.

use std::path::Path;

use super::{
    LoadRequest,
    discover::{discover, normal_name, project_name, read},
};

/// The name that the project most likely has, although its files may be wrong: enough to find a
/// running `watch`, which still knows the project as it was.
pub fn likely_name(request: &LoadRequest) -> Option<String> {
    let found = discover(request).ok()?;
    let named = || {
        let files = found.files.iter().filter(|file| *file != Path::new("-"));
        Ok(files.rev().find_map(|file| name_in(&read(file).ok()?)))
    };
    project_name(request, &found, named).ok()
}

/// The name that the project most likely had when its files were there: the given one, else that of the
/// directory.
pub fn likely_name_without_files(request: &LoadRequest) -> Option<String> {
    let from_environment = request.env.get("COMPOSE_PROJECT_NAME");
    let given = request.project_name.as_ref().or(from_environment);
    let name = if let Some(name) = given.filter(|name| !name.is_empty()) {
        name.clone()
    } else {
        let directory = request.project_directory.as_deref();
        let beside = || request.files.first()?.parent();
        let directory = request
            .cwd
            .join(directory.or_else(beside).unwrap_or(Path::new("")));
        crate::files::clean(&directory)
            .file_name()?
            .to_string_lossy()
            .into_owned()
    };
    Some(normal_name(&name)).filter(|name| !name.is_empty())
}

/// The value of a top-level `name:`, where it is a plain word.
fn name_in(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("name:"))?;
    let value = value.split(" #").next().unwrap_or_default().trim();
    let value = value.trim_matches(['"', '\'']);
    (!value.is_empty() && !value.contains('$')).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_in_text_that_is_no_compose_file() {
        assert_eq!(
            name_in("name: 'shop' # ours\nservices:\n  web: {"),
            Some("shop".into())
        );
        assert_eq!(name_in("services:\n  name: web"), None);
        assert_eq!(name_in("name: ${NAME}\n"), None);
    }

    #[test]
    fn without_files_the_name_is_the_given_one_or_the_directorys() {
        let mut request = LoadRequest {
            cwd: "/srv/My.Shop".into(),
            ..LoadRequest::default()
        };
        let name = |request: &LoadRequest| likely_name_without_files(request).unwrap();
        assert_eq!(name(&request), "myshop");
        request.files = vec!["../blog/compose.yaml".into()];
        assert_eq!(name(&request), "blog");
        request.project_directory = Some("/srv/wiki".into());
        assert_eq!(name(&request), "wiki");
        request.project_name = Some("shop".into());
        assert_eq!(name(&request), "shop");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "writes a broken file on purpose")]
    fn a_half_saved_file_still_has_a_likely_name() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("My.Shop");
        std::fs::create_dir(&project).unwrap();
        let mut request = LoadRequest {
            cwd: project.clone(),
            ..LoadRequest::default()
        };
        assert_eq!(likely_name(&request), None);
        std::fs::write(project.join("compose.yaml"), "services: {web: {im").unwrap();
        assert_eq!(likely_name(&request), Some("myshop".into()));
        request.project_name = Some("other".into());
        assert_eq!(likely_name(&request), Some("other".into()));
    }
}
