//! A directory that others can write to: whatever is put there, nothing outside of it is touched, and
//! inside of it only files of this project.

use std::{os::unix::fs::symlink, path::PathBuf, process::Command};

use super::*;

/// The name of each file that is read or written, and whether all depends on it.
const NAMES: [(&str, bool); 5] = [
    ("web.conf", false),
    ("web.location", false),
    ("00-compose-scale.conf", false),
    (".compose-scale-shop.undo", true),
    (".compose-scale-shop.pending", true),
];

/// The undo file, as one who can write to the directory would have it.
fn plant(dir: &TempDir, undo: &str) -> PathBuf {
    let path = dir.path().join(".compose-scale-shop.undo");
    crate::files::replace(&path, undo.as_bytes()).unwrap();
    path
}

fn header() -> String {
    render::header("shop").unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_undo_file_that_names_files_elsewhere_is_ignored_and_gone_afterwards() {
    let elsewhere = tempfile::tempdir().unwrap();
    let kept = elsewhere.path().join("keep.conf");
    crate::files::replace(&kept, b"precious").unwrap();
    let new = elsewhere.path().join("new.conf");
    let (kept_name, new_name) = (kept.display(), new.display());
    let inside = |name: &str| format!("{{\"{name}\":{}}}", serde_json::json!(header()));
    for undo in [
        format!("{{\"{kept_name}\":\"\"}}"),
        format!("{{\"{kept_name}\":null}}"),
        inside(&kept_name.to_string()),
        inside(&new_name.to_string()),
        inside("../keep.conf"),
        inside("../x/../keep.location"),
        inside("below/keep.conf"),
        inside("we\\nb.conf"),
        inside(".hidden.conf"),
    ] {
        let (dir, nginx) = nginx();
        let planted = plant(&dir, &undo);
        let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
        assert_eq!(published.changed, FILES, "{undo}");
        assert!(!planted.exists(), "{undo}");
        assert_eq!(everything(&dir).len(), 3);
        assert_eq!(fs::read(&kept).unwrap(), b"precious", "{undo}");
        assert!(!new.exists(), "{undo}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_not_one_of_ours_is_never_put_back() {
    for text in [
        "server { listen 81; }".to_owned(),
        format!("{}load_module /tmp/x.so;\n", header()),
        format!(
            "{}upstream web {{\n    include /etc/shadow;\n}}\n",
            header()
        ),
        render::header("blog").unwrap() + "upstream web {\n    server 10.0.0.9:80;\n}\n",
    ] {
        let (dir, nginx) = nginx();
        let undo = serde_json::json!({"web.conf": text});
        plant(&dir, &undo.to_string());
        nginx
            .fleet()
            .with(|s| s.rejects = vec![("10.0.0.1", "bad in /x/web.conf:3")]);
        nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
        let names: Vec<_> = everything(&dir).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["00-compose-scale.conf", "web.location"], "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_file_does_not_make_a_file_of_others_ours() {
    let (dir, nginx) = nginx();
    let mine = dir.path().join("mine.conf");
    crate::files::replace(&mine, b"server { listen 80; }\n").unwrap();
    let text = header() + "upstream mine {\n    server 10.0.0.9:80;\n}\n";
    plant(&dir, &serde_json::json!({"mine.conf": text}).to_string());
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(read(&dir, "mine.conf"), "server { listen 80; }\n");
}

#[tokio::test(start_paused = true)]
async fn a_file_of_endless_length_is_refused_and_costs_nothing() {
    for (name, decides) in NAMES {
        let (dir, nginx) = nginx();
        let file = fs::File::create(dir.path().join(name)).unwrap();
        file.set_len(1 << 40).unwrap();
        let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await;
        let said = match published {
            Err(error) => error.to_string(),
            Ok(published) => published.refused[0].error.to_string(),
        };
        assert!(
            said.contains(&format!("{name}: it is larger than ")),
            "{said}"
        );
        assert_eq!(
            dir.path().join("web.conf").metadata().is_ok(),
            !decides || name == "web.conf"
        );
        assert_eq!(file.metadata().unwrap().len(), 1 << 40);
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_place_of_a_file_is_told_and_left_alone() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target");
    // It looks like ours in every way, and still it is another file.
    let text = header() + "upstream web {\n    server 10.0.0.9:80;\n}\n";
    crate::files::replace(&target, text.as_bytes()).unwrap();
    let missing = elsewhere.path().join("missing");
    for (name, decides) in NAMES {
        for what in [
            "a symbolic link",
            "a symbolic link to nothing",
            "a FIFO",
            "a directory",
        ] {
            let (dir, nginx) = nginx();
            let path = dir.path().join(name);
            match what {
                "a symbolic link" => symlink(&target, &path).unwrap(),
                "a FIFO" => assert!(
                    Command::new("mkfifo")
                        .arg(&path)
                        .status()
                        .unwrap()
                        .success()
                ),
                "a directory" => fs::create_dir(&path).unwrap(),
                _ => symlink(&missing, &path).unwrap(),
            }
            let before = path.symlink_metadata().unwrap();
            let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await;
            let said = match published {
                Err(error) => error.to_string(),
                Ok(published) => published.refused[0].error.to_string(),
            };
            let kind = what.trim_end_matches(" to nothing");
            let expected = format!(
                "cannot write {}: it is {kind} instead of a regular file, and was left alone; move it away",
                path.display()
            );
            assert_eq!(said, expected);
            let after = path.symlink_metadata().unwrap();
            assert_eq!(
                (after.ino(), after.file_type()),
                (before.ino(), before.file_type())
            );
            assert_eq!(fs::read_to_string(&target).unwrap(), text);
            assert!(!missing.exists());
            // What does not depend on it is done.
            let other = if name == "web.conf" {
                "web.location"
            } else {
                "web.conf"
            };
            assert_eq!(dir.path().join(other).exists(), !decides, "{name} {what}");
        }
    }
}
