use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::{PermissionsExt, symlink},
};

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_file_is_readable_by_everyone_and_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.conf");
    assert!(replace(&path, b"one").unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"one");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(names(dir.path()), ["web.conf"]);
}

#[test]
fn equal_bytes_leave_the_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.conf");
    replace(&path, b"one").unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    assert!(!replace(&path, b"one").unwrap());
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    assert!(replace(&path, b"two").unwrap());
    assert_ne!(fs::metadata(&path).unwrap().ino(), inode);
}

#[test]
fn the_leftover_of_a_crash_is_no_obstacle_and_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    replace(&other, b"untouched").unwrap();
    symlink(&other, dir.path().join(".web.conf.tmp")).unwrap();
    assert!(replace(&dir.path().join("web.conf"), b"one").unwrap());
    assert_eq!(fs::read(&other).unwrap(), b"untouched");
    assert_eq!(names(dir.path()), ["other", "web.conf"]);
}

/// What may stand in the place of a file, and how it is told.
fn put(path: &Path, target: &Path, what: &str) {
    match what {
        "a symbolic link" => symlink(target, path).unwrap(),
        "a FIFO" => {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        }
        "a directory" => fs::create_dir(path).unwrap(),
        "a socket" => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        other => panic!("{other}"),
    }
}

#[test]
fn no_way_to_use_a_file_of_ours_follows_waits_or_destroys() {
    type Use = fn(&Directory) -> io::Result<()>;
    let uses: [(&str, Use); 10] = [
        ("read", |at| at.read("name", 10).map(drop)),
        ("follow a log", |at| {
            at.open("name", OpenMode::ReadOthers).map(drop)
        }),
        ("lock", |at| at.open("name", OpenMode::Lock).map(drop)),
        ("append", |at| at.open("name", OpenMode::Append).map(drop)),
        ("replace", |at| at.replace("name", b"new", PUBLIC).map(drop)),
        ("replace by path", |at| {
            replace(&at.path().join("name"), b"new").map(drop)
        }),
        ("replace privately", |at| {
            replace_private(&at.path().join("name"), b"old").map(drop)
        }),
        ("remove", |at| at.remove("name").map(drop)),
        ("rename", |at| at.rename("name", "other")),
        ("rename onto", |at| {
            at.replace("other", b"other", PUBLIC)?;
            at.rename("other", "name")
        }),
    ];
    for (verb, used) in uses {
        for what in ["a symbolic link", "a FIFO", "a directory", "a socket"] {
            let dir = tempfile::tempdir().unwrap();
            let (path, target) = (dir.path().join("name"), dir.path().join("target"));
            replace(&target, b"old").unwrap();
            put(&path, &target, what);
            let before = fs::symlink_metadata(&path).unwrap();
            let error = used(&Directory::at(dir.path()).unwrap()).unwrap_err();
            assert!(FileRefusal::is(&error), "{verb} {what}: {error}");
            assert_eq!(
                error.to_string(),
                format!("it is {what} instead of a regular file, and was left alone; move it away")
            );
            let after = fs::symlink_metadata(&path).unwrap();
            assert_eq!(after.ino(), before.ino(), "{verb} {what}");
            assert_eq!(fs::read(&target).unwrap(), b"old", "{verb} {what}");
        }
    }
}

#[test]
fn a_link_to_nothing_makes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    symlink(&missing, dir.path().join("name")).unwrap();
    let at = Directory::at(dir.path()).unwrap();
    for access in [OpenMode::Lock, OpenMode::Append, OpenMode::Read] {
        assert!(FileRefusal::is(&at.open("name", access).unwrap_err()));
    }
    assert!(FileRefusal::is(
        &replace_content(&dir.path().join("name"), b"new").unwrap_err()
    ));
    assert!(!missing.exists());
}

#[test]
fn a_name_that_leads_elsewhere_is_none() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("below")).unwrap();
    let at = Directory::at(&dir.path().join("below")).unwrap();
    replace(&dir.path().join("kept"), b"kept").unwrap();
    let absolute = dir.path().join("kept");
    for name in [
        "../kept",
        absolute.to_str().unwrap(),
        "",
        ".",
        "..",
        "./kept",
        "a/b",
        "a/",
    ] {
        for error in [
            at.read(name, 10).unwrap_err(),
            at.replace(name, b"new", PUBLIC).unwrap_err(),
            at.remove(name).unwrap_err(),
            at.rename(name, "x").unwrap_err(),
            at.inner(name).unwrap_err(),
            at.make_inner(name, 0o700).unwrap_err(),
        ] {
            assert!(FileRefusal::is(&error), "{name}: {error}");
        }
    }
    assert_eq!(names(dir.path()), ["below", "kept"]);
}

#[test]
fn a_hard_link_is_not_written_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    replace(&target, b"old").unwrap();
    fs::hard_link(&target, dir.path().join("name")).unwrap();
    let at = Directory::at(dir.path()).unwrap();
    for access in [OpenMode::Lock, OpenMode::Append] {
        let error = at.open("name", access).unwrap_err();
        assert!(
            error.to_string().starts_with("it is a hard link"),
            "{error}"
        );
    }
    // A rename gives the name another file, and the other name keeps this one.
    assert!(at.replace("name", b"new", PUBLIC).unwrap());
    assert_eq!(fs::read(&target).unwrap(), b"old");
}

#[test]
fn a_directory_of_ours_is_not_reached_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let before = mode(&target);
    symlink(&target, dir.path().join("templates")).unwrap();
    let at = Directory::at(dir.path()).unwrap();
    let found = "it is a symbolic link instead of a directory, and was left alone; move it away";
    assert_eq!(at.inner("templates").unwrap_err().to_string(), found);
    let error = at.make_inner("templates", 0o711).unwrap_err();
    assert_eq!(error.to_string(), found);
    assert_eq!(mode(&target), before);
    assert_eq!(mode(at.make_inner("new", 0o711).unwrap().path()), 0o711);
}

#[test]
fn a_file_of_another_user_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    replace(&path, b"old").unwrap();
    let owner = fs::metadata(&path).unwrap().uid();
    let at = Directory::at(dir.path()).unwrap();
    assert_eq!(at.read("name", 10).unwrap(), b"old");
    let at = at.trusting([owner + 1; 3]);
    let refused = format!("it belongs to uid {owner}, not to uid ");
    for error in [
        at.read("name", 10).unwrap_err(),
        at.open("name", OpenMode::Lock).unwrap_err(),
        at.open("name", OpenMode::Append).unwrap_err(),
        at.replace("name", b"new", PUBLIC).unwrap_err(),
        at.make_inner("below", 0o700).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.starts_with(&refused), "{text}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"old");
    // nginx's workers own its log.
    at.open("name", OpenMode::ReadOthers).unwrap();
    let users = Directory::at(dir.path()).unwrap().users();
    let owner = fs::metadata(dir.path()).unwrap().uid();
    assert_eq!(users, [0, rustix::process::geteuid().as_raw(), owner]);
}

#[test]
fn no_more_is_read_than_a_file_of_ours_can_have() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    let file = File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    let at = Directory::at(dir.path()).unwrap();
    let error = at.read("name", 1 << 20).unwrap_err();
    assert!(
        error.to_string().starts_with("it is larger than 1024 KiB"),
        "{error}"
    );
    assert!(FileRefusal::is(&read_content(&path).unwrap_err()));
    assert!(at.replace("name", b"new", PUBLIC).unwrap());
    assert_eq!(at.read("name", 3).unwrap(), b"new");
}

#[test]
fn the_users_own_files_are_reached_through_links_and_are_regular_files() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    replace(&file, b"text").unwrap();
    symlink(&file, &link).unwrap();
    assert_eq!(read_content_text(&link).unwrap(), "text");
    append_content(&link).unwrap().write_all(b" more").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"text more");
    let fifo = dir.path().join("fifo");
    put(&fifo, &file, "a FIFO");
    for error in [
        read_content(&fifo).unwrap_err(),
        append_content(&fifo).unwrap_err(),
        replace_content(&fifo, b"new").unwrap_err(),
        read_content(dir.path()).unwrap_err(),
    ] {
        assert!(FileRefusal::is(&error), "{error}");
    }
}

#[test]
fn a_private_file_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.json");
    replace_private(&path, b"one").unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_of_the_users_own_keeps_its_mode_and_its_link() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("secret"), dir.path().join(".env"));
    replace_private(&file, b"one").unwrap();
    symlink(&file, &link).unwrap();
    assert!(replace_content(&link, b"two").unwrap());
    assert_eq!(fs::read(&file).unwrap(), b"two");
    assert_eq!(fs::read_link(&link).unwrap(), file);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(replace_content(&dir.path().join("new"), b"one").unwrap());
}

#[test]
fn what_was_changed_since_it_was_looked_at_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compose.scale.yaml");
    replace(&path, b"one").unwrap();
    let edited = |path: &Path| {
        fs::read(dir.path().join(".compose.scale.yaml.tmp")).unwrap();
        replace(&dir.path().join("edit"), b"mine").unwrap();
        fs::rename(dir.path().join("edit"), path).unwrap();
        false
    };
    assert!(!replace_content_if(&path, b"two", edited).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(names(dir.path()), ["compose.scale.yaml"]);
    assert!(replace_content_if(&path, b"two", |_| true).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"two");
}

#[test]
fn the_leftover_of_a_link_is_beside_its_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("below")).unwrap();
    let (file, link) = (dir.path().join("below/secret"), dir.path().join(".env"));
    replace(&file, b"one").unwrap();
    symlink(&file, &link).unwrap();
    replace(&dir.path().join("below/.secret.tmp"), b"two").unwrap();
    assert!(remove_leftover(&link).unwrap());
    assert!(!remove_leftover(&link).unwrap());
    assert_eq!(names(&dir.path().join("below")), ["secret"]);
    assert!(!remove_leftover(&dir.path().join("nothing")).unwrap());
}

#[test]
fn a_missing_directory_is_an_error_and_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let error = replace(&dir.path().join("gone/web.conf"), b"one").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn removing_says_whether_it_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.conf");
    replace(&path, b"one").unwrap();
    assert!(remove(&path).unwrap());
    assert!(!remove(&path).unwrap());
}
