//! An nginx that reads real files.

use std::fs;

use super::{super::simulated_host::World, INSIDE, Inside};
use crate::files;

/// A command in a container: which stream it prints to, what, and its exit code.
pub(super) fn run(world: &World, inside: &Inside, argv: &[String]) -> (u8, String, i64) {
    let argument = argv.get(1).map(String::as_str);
    match (argument, &world.nginx_refuses) {
        (Some("-v"), _) => (2, "nginx version: nginx/1.30.0\n".into(), 0),
        (Some("-t" | "-T"), Some(why)) => (2, format!("nginx: [emerg] {why}\n"), 1),
        (Some("-T"), None) => (1, dump(inside), 0),
        _ => (1, String::new(), 0),
    }
}

/// What `nginx -T` prints.
fn dump(inside: &Inside) -> String {
    let mut text = format!(
        "# configuration file /etc/nginx/nginx.conf:\nhttp {{\n{}}}\n\n",
        inside.configuration
    );
    if inside.configuration.contains(&format!("{INSIDE}/*.conf")) {
        let entries = fs::read_dir(&inside.upstreams).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ours =
            |name: &String| !name.starts_with('.') && name.split('.').next_back() == Some("conf");
        let mut names: Vec<_> = names.filter(ours).collect();
        names.sort();
        for name in names {
            let file = files::read_content_text(&inside.upstreams.join(&name)).unwrap_or_default();
            let heading = format!("# configuration file {INSIDE}/{name}:");
            text.extend([heading.as_str(), "\n", &file, "\n"]);
        }
    }
    text
}

/// nginx starts other workers, with what is in the files now.
pub(super) fn reload(world: &mut World, inside: &mut Inside) {
    let drained = world.drained_in();
    let until = world.elapsed() + drained;
    if !drained.is_zero() {
        inside.old.extend(inside.workers.map(|pid| (pid, until)));
    }
    inside.workers = inside.workers.map(|pid| pid + 2);
    let services: Vec<_> = world.services.keys().cloned().collect();
    for service in services {
        let file = inside.upstreams.join(format!("{service}.conf"));
        let text = files::read_content_text(&file).unwrap_or_default();
        let servers = text.lines().filter_map(|line| {
            let (server, name) = line.split_once("; # ")?;
            let mut words = server.split_whitespace();
            let weight = words.find_map(|word| word.strip_prefix("weight=")?.parse().ok());
            Some((name.to_owned(), weight.unwrap_or(1)))
        });
        world.write(&service, servers.collect());
    }
    world.reload();
}
