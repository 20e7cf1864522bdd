//! The rules in the configuration of the nginx that an Ingress takes the place of, from its files here.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    files,
    project::{Service, workload::Content},
    proxy::inspect::{Configuration, Route},
};

const MAIN: &str = "/etc/nginx/nginx.conf";
/// What the image's own main file does with the directory, where that file is not one of ours.
const USUAL: &str = "http { include /etc/nginx/conf.d/*.conf; }";
/// The image makes configuration of these, by envsubst.
const TEMPLATES: &str = "/etc/nginx/templates/";

/// Which requests go to whom; empty where nothing can be read.
pub(super) fn routes(nginx: &Service) -> Vec<Route> {
    let mut files = BTreeMap::new();
    for volume in &nginx.volumes {
        let source = volume.source.as_deref().unwrap_or_default();
        if volume.kind == "bind" && volume.target.starts_with("/etc/nginx") {
            add(&mut files, Path::new(source), Path::new(&volume.target));
        }
    }
    for file in &nginx.workload.files {
        match &file.content {
            Content::File(path) => add(&mut files, path, Path::new(&file.path)),
            Content::Text(text) => put(&mut files, Path::new(&file.path), text.clone()),
            Content::Unset(_) | Content::External(_) => {}
        }
    }
    files
        .entry(PathBuf::from(MAIN))
        .or_insert_with(|| USUAL.to_owned());
    // The main one first, as nginx prints them.
    let mut dump = String::new();
    let is_main = |path: &Path| path == Path::new(MAIN);
    let (main, others): (Vec<_>, Vec<_>) = files.iter().partition(|(path, _)| is_main(path));
    for (path, text) in main.into_iter().chain(others) {
        let _ = writeln!(dump, "# configuration file {}:\n{text}", path.display());
    }
    Configuration::parse(&dump).routes()
}

/// A file, or those of a directory and one below it.
fn add(found: &mut BTreeMap<PathBuf, String>, source: &Path, inside: &Path) {
    if let Ok(text) = files::read_content_text(source) {
        put(found, inside, text);
        return;
    }
    for entry in fs::read_dir(source).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if let Ok(text) = files::read_content_text(&path) {
            put(found, &inside.join(&name), text);
        } else if path.is_dir() {
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                if let Ok(text) = files::read_content_text(&entry.path()) {
                    put(found, &inside.join(&name).join(entry.file_name()), text);
                }
            }
        }
    }
}

fn put(files: &mut BTreeMap<PathBuf, String>, inside: &Path, text: String) {
    let template = inside
        .to_str()
        .and_then(|path| path.strip_prefix(TEMPLATES)?.strip_suffix(".template"));
    let path = match template {
        Some(name) => Path::new("/etc/nginx/conf.d").join(name),
        None => inside.to_owned(),
    };
    files.insert(path, text);
}
