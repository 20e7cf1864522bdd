//! What is put in the place of a file or directory of this program, by someone who can write beside it,
//! is never followed, emptied or removed, and no command hangs on it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Stand, write};

/// Every file and directory of ours that a command opens, below the project's directory, the commands
/// that do, and whether they tell of it. A new one belongs here.
const PLACES: [(&str, &[&str], bool); 13] = [
    ("state/lock", &["sync"], true),
    ("state/state.json", &["watch --once"], true),
    ("state/scaling.log", &["scale", "history"], true),
    ("state/scaling.log.1", &["history"], true),
    ("state/templates", &["scale"], true),
    ("state/templates/web.json", &["scale"], true),
    // A socket is connected to, never opened.
    ("state/control.sock", &["ps", "sync"], false),
    ("upstreams/web.conf", &["ps", "sync"], true),
    ("upstreams/web.location", &["sync"], true),
    ("upstreams/00-compose-scale.conf", &["sync"], true),
    ("upstreams/.compose-scale-shop.lock", &["sync"], true),
    ("upstreams/.compose-scale-shop.undo", &["sync"], true),
    ("upstreams/.compose-scale-shop.pending", &["sync"], true),
];

const TEXT: &str = "precious\n";

/// Seconds after which a command counts as hanging.
const DEADLINE: &str = "30";

/// Runs commands; what they say.
fn said(stand: &Stand, commands: &[&str], wanted: usize) -> String {
    let mut all = String::new();
    let scale = format!("scale web={wanted} --hold 10m --timeout 5s");
    for command in commands {
        let command = if *command == "scale" {
            scale.as_str()
        } else {
            command
        };
        let arguments: Vec<_> = command.split(' ').collect();
        let arguments = arguments.as_slice();
        let tool = stand.tool(arguments);
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", DEADLINE]);
        command.arg(tool.get_program()).args(tool.get_args());
        for (name, value) in tool.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command
            .current_dir(stand.directory.path())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code().is_some(),
            "{arguments:?} hangs: {text}"
        );
        all += &text;
    }
    all
}

fn put(path: &Path, what: &str, target: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).expect("it goes");
    } else {
        let _ = fs::remove_file(path);
    }
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    match what {
        "a FIFO" => {
            let made = Command::new("mkfifo").arg(path).status();
            assert!(made.expect("mkfifo").success());
        }
        "a directory" => fs::create_dir(path).expect("a directory"),
        _ => symlink(target, path).expect("a link"),
    }
}

/// Everything below a directory: a path, its inode and its text.
fn everything(directory: &Path) -> Vec<(PathBuf, u64, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let found = fs::symlink_metadata(&path).expect("it is there");
        let text = fs::read_to_string(&path).unwrap_or_default();
        if found.is_dir() {
            all.extend(everything(&path));
        }
        all.push((path, found.ino(), text));
    }
    all.sort();
    all
}

fn replaced_by(what: &str) {
    let stand = Stand::with(0.0);
    stand.must(&["scale", "web=1", "--hold", "10m"]);
    let elsewhere = stand.directory.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("directory")).expect("a directory");
    write(&elsewhere.join("directory/web.json"), TEXT);
    write(&elsewhere.join("file"), TEXT);
    for (at, (name, commands, is_told)) in PLACES.into_iter().enumerate() {
        let target = match what {
            "a link to nothing" => elsewhere.join("missing"),
            _ if name == "state/templates" => elsewhere.join("directory"),
            _ => elsewhere.join("file"),
        };
        let path = stand.directory.path().join(name);
        // A directory is what belongs there.
        if what == "a directory" && name == "state/templates" {
            continue;
        }
        put(&path, what, &target);
        let before = (
            everything(&elsewhere),
            fs::symlink_metadata(&path).expect("it").ino(),
        );
        // Another count than before, so that something is written everywhere.
        let said = said(&stand, commands, 1 + at % 2);
        let found = match what {
            "a link to a file" | "a link to nothing" => "a symbolic link",
            other => other,
        };
        let refused = said.lines().any(|line| {
            line.contains(&path.display().to_string())
                && line.contains(&format!("it is {found} instead of a "))
                && line.contains("was left alone; move it away")
        });
        assert_eq!(refused, is_told, "{name} as {what}:\n{said}");
        let after = (
            everything(&elsewhere),
            fs::symlink_metadata(&path).expect("it").ino(),
        );
        assert_eq!(after, before, "{name} as {what}:\n{said}");
        if what == "a directory" || (what == "a FIFO" && path.is_dir()) {
            fs::remove_dir_all(&path).expect("it goes");
        } else {
            fs::remove_file(&path).expect("it goes");
        }
        let parent = path.parent().expect("a directory");
        if parent.ends_with("state") {
            fs::remove_dir_all(parent).expect("it goes");
        }
    }
    // Once all of that is away, everything works again.
    stand.must(&["sync"]);
    stand.must(&["scale", "web=1", "--hold", "10m"]);
    assert_eq!(stand.daemon.served("web"), ["shop-web-1"]);
}

#[test]
fn a_link_in_the_place_of_a_file_is_not_followed() {
    replaced_by("a link to a file");
}

#[test]
fn a_link_to_nothing_in_the_place_of_a_file_makes_none() {
    replaced_by("a link to nothing");
}

#[test]
fn a_fifo_in_the_place_of_a_file_holds_nobody_up() {
    replaced_by("a FIFO");
}

#[test]
fn a_directory_in_the_place_of_a_file_is_told() {
    replaced_by("a directory");
}

/// The first attack: an undo file that names files elsewhere.
#[test]
fn an_undo_file_that_others_wrote_reaches_no_file_elsewhere() {
    let stand = Stand::with(0.0);
    let kept = stand.directory.path().join("keep.conf");
    write(&kept, TEXT);
    let new = stand.directory.path().join("new.location");
    for undo in [
        format!("{{\"{}\":\"\"}}", kept.display()),
        format!("{{\"{}\":\"hostile\"}}", new.display()),
        "{\"../keep.conf\":\"\"}".to_owned(),
        "{\"../new.location\":\"hostile\"}".to_owned(),
    ] {
        let path = stand
            .directory
            .path()
            .join("upstreams/.compose-scale-shop.undo");
        write(&path, &undo);
        let (code, _, stderr) = stand.run(&["sync"]);
        assert_eq!(code, 0, "{stderr}");
        assert!(
            stderr.contains(&format!("{} is ignored", path.display())),
            "{stderr}"
        );
        assert_eq!(fs::read_to_string(&kept).expect("it stays"), TEXT, "{undo}");
        assert!(!new.exists(), "{undo}");
        assert!(!path.exists(), "{undo}");
    }
}

/// The second: a lock that is a link to a file elsewhere, which was emptied.
#[test]
fn a_lock_that_is_a_link_empties_no_file() {
    let stand = Stand::with(0.0);
    let kept = stand.directory.path().join("kept");
    write(&kept, TEXT);
    let lock = stand
        .directory
        .path()
        .join("upstreams/.compose-scale-shop.lock");
    symlink(&kept, &lock).expect("a link");
    let (code, _, stderr) = stand.run(&["sync"]);
    assert_ne!(code, 0);
    assert!(
        stderr.contains(&format!(
            "cannot use {}: it is a symbolic link instead of a regular file, and was left alone; move it away",
            lock.display()
        )),
        "{stderr}"
    );
    assert_eq!(fs::read_to_string(&kept).expect("it stays"), TEXT);
}

/// Directories that the user names may be reached through a link, as `current -> releases/42`.
#[test]
fn a_directory_of_the_users_own_is_reached_through_a_link() {
    let stand = Stand::with(0.0);
    let at = |name: &str| stand.directory.path().join(name);
    fs::rename(at("upstreams"), at("release")).expect("it moves");
    symlink("release", at("upstreams")).expect("a link");
    fs::create_dir(at("disk")).expect("a directory");
    symlink("disk", at("state")).expect("a link");
    stand.must(&["scale", "web=2", "--hold", "10m"]);
    stand.must(&["sync"]);
    assert!(at("release/web.conf").is_file() && at("disk/state.json").is_file());
    assert_eq!(stand.daemon.served("web").len(), 2);
}
