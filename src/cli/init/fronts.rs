//! Which services pass requests on to others, and which web server is the site itself: by what depends on
//! what, and by the configuration that is mounted or built into the image.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    files,
    init::dockerfile,
    project::{Project, Service, images::ImageKind, nginx::may_be_a_door},
};

/// So many files of a folder are looked at, so deep.
const FILES: usize = 200;
const DEPTH: usize = 4;
/// Folders of other people's code.
const SKIPPED: [&str; 4] = ["node_modules", "vendor", "target", "dist"];
/// Where web servers keep their configuration, inside of their containers.
const CONFIGURATION: [&str; 7] = [
    "/etc/nginx",
    "/usr/local/openresty/nginx/conf",
    "/etc/caddy",
    "/etc/httpd",
    "/etc/apache2",
    "/etc/lighttpd",
    "/usr/local/apache2/conf",
];
/// Words of a directive that names where requests go on to.
const PASSES_ON: [&str; 7] = [
    "_pass ",
    "server ",
    "upstream ",
    "proxypass",
    "balancermember",
    "reverse_proxy",
    "proxy.server",
];

/// Notes what images are built on, where the Dockerfile lies on this machine.
pub(super) fn read_base_images(project: &mut Project) {
    let root = project.working_dir.clone();
    for service in project.services.values_mut() {
        let Some(source) = &service.build_source else {
            continue;
        };
        let text = match &source.inline {
            Some(text) => Some(text.clone()),
            None => context(&root, &source.context).and_then(|folder| {
                let name = source.dockerfile.as_deref().unwrap_or("Dockerfile");
                files::read_content_text(&folder.join(name)).ok()
            }),
        };
        service.base_image =
            text.and_then(|text| dockerfile::base_image(&text, source.target.as_deref()));
    }
}

/// The folder that is built; `None` for one that is fetched.
fn context(root: &Path, written: &str) -> Option<PathBuf> {
    let is_remote =
        written.contains("://") || written.starts_with("git@") || written.contains(".git");
    (!is_remote).then(|| root.join(written))
}

/// The services that run a web server and pass requests on.
pub(super) fn of(project: &Project) -> Vec<String> {
    let services = project.services.values();
    let fronts = services.filter(|service| {
        let image = service.known_image();
        let may_be =
            image.is_some_and(|one| matches!(one.kind, ImageKind::Nginx | ImageKind::Server));
        may_be && passes_on(project, service)
    });
    fronts.map(|service| service.name.clone()).collect()
}

fn passes_on(project: &Project, service: &Service) -> bool {
    if !may_be_a_door(service) {
        return false;
    }
    let others: Vec<_> = project
        .services
        .values()
        .filter(|other| other.name != service.name && !is_data(other))
        .collect();
    let needs = |other: &&&Service| {
        service.depends_on.contains_key(&other.name) || service.links.contains(&other.name)
    };
    if others.iter().any(|other| needs(&other)) {
        return true;
    }
    let texts = configuration(project, service);
    let is_named = |other: &&Service| {
        let own = other.container_name.as_deref();
        let mut names = [Some(other.name.as_str()), own].into_iter().flatten();
        names.any(|name| texts.iter().any(|text| names_a_target(text, name)))
    };
    if texts.is_empty() {
        // Nobody else lets requests in to those.
        !service.build && others.iter().any(|other| other.ports.is_empty())
    } else {
        others.into_iter().any(|other| is_named(&other))
    }
}

fn is_data(service: &Service) -> bool {
    let image = service.known_image();
    image.is_some_and(|image| image.kind == ImageKind::Data)
}

/// Whether a line that says where requests go on to has the name as a word.
fn names_a_target(text: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.lines().map(str::trim).any(|line| {
        let lower = line.to_ascii_lowercase();
        !line.starts_with('#')
            && PASSES_ON.iter().any(|word| lower.contains(word))
            && line.split(|c| !is_word(c)).any(|word| word == name)
    })
}

/// The text of the configuration that is mounted, or built into the image.
fn configuration(project: &Project, service: &Service) -> Vec<String> {
    let mut texts = Vec::new();
    for volume in service.volumes.iter().filter(|one| one.kind == "bind") {
        let target = Path::new(&volume.target);
        if let Some(source) = &volume.source
            && CONFIGURATION.iter().any(|place| target.starts_with(place))
        {
            read(Path::new(source), &|_| true, DEPTH, &mut texts);
        }
    }
    if let Some(source) = &service.build_source {
        if let Some(text) = &source.inline {
            texts.push(text.clone());
        }
        if let Some(folder) = context(&project.working_dir, &source.context) {
            read(&folder, &is_configuration, DEPTH, &mut texts);
        }
    }
    texts
}

/// Whether a file of a folder that is built looks like a web server's configuration.
fn is_configuration(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    name.contains(".conf") || name.contains("nginx") || name.contains("caddyfile")
}

fn read(path: &Path, wanted: &dyn Fn(&Path) -> bool, depth: usize, texts: &mut Vec<String>) {
    if path.is_file() {
        if wanted(path) {
            texts.extend(files::read_content_text(path));
        }
        return;
    }
    let Ok(entries) = fs::read_dir(path) else {
        return;
    };
    let is_code = |name: &str| name.starts_with('.') || SKIPPED.contains(&name);
    for entry in entries.flatten().take(FILES) {
        if depth > 0 && texts.len() < FILES && !is_code(&entry.file_name().to_string_lossy()) {
            read(&entry.path(), wanted, depth - 1, texts);
        }
    }
}
