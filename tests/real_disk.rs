//! `watch` on a disk that is full: a tiny file system for its state, and one for nginx's files.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

mod support;

use support::{
    ComposeProject, real,
    stack::{Stack, Watch, new_nginx},
};

const LONG: Duration = Duration::from_secs(30);

/// A tiny file system, gone with the value.
struct Disk(PathBuf);

impl Disk {
    /// Sixteen pages; `None` where this user may not mount.
    fn mount(at: &Path) -> Option<Self> {
        Self::of("64k", at)
    }

    fn of(size: &str, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .status()
            .is_ok_and(|status| status.success());
        if done {
            return Some(Self(at.to_owned()));
        }
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "cannot mount");
        eprintln!("skipped: needs the right to mount");
        None
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).expect("a file");
        while file.write_all(&[0; 512]).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).expect("the file goes");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn stack() -> Stack {
    let project = ComposeProject::new(&format!(
        "\
x-autoscale: {{interval: 1s, nginx: {{service: nginx, upstreams: ./upstreams}}}}
services:
  web:
    image: WEB
    expose: [\"80\"]
    x-autoscale: {{max: 4, metrics: []}}
  nginx:
    image: {}
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
      - ./upstreams:/etc/nginx/upstreams:ro
    depends_on: [web]
",
        new_nginx()
    ));
    project.write(
        "nginx.conf",
        "include /etc/nginx/upstreams/*.conf;\nserver { location / { proxy_pass http://web; } }\n",
    );
    Stack::of(project)
}

/// The lines about this, without their times.
fn lines(watch: &Watch, about: &[&str]) -> Vec<String> {
    let log = watch.log();
    let lines = log.lines().filter_map(|line| line.get(19..));
    let lines = lines.map(|line| line.trim_start().to_owned());
    lines
        .filter(|line| about.iter().any(|word| line.contains(word)))
        .collect()
}

#[test]
fn a_state_directory_that_is_full_is_said_once_and_stops_nothing() {
    if !real() {
        return;
    }
    let stack = stack();
    let Some(disk) = Disk::mount(&stack.state()) else {
        return;
    };
    stack.project.compose(&["up", "-d"]);
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.listed().len() == 1);
    // So that what it remembers at its start is written.
    stack.until("it remembers", LONG, |s| {
        s.state().join("state.json").exists()
    });
    disk.fill();
    stack.must(&["scale", "web=3"]);
    stack.must(&["scale", "web=2"]);
    assert_eq!(stack.listed().len(), 2);
    let about = ["holds and history", "events are"];
    let full = [
        "WARN events are not recorded error=\"cannot use STATE/scaling.log: No space left on device (os error 28)\"",
        "WARN cannot save holds and history: a restart would lose them error=\"cannot use STATE/state.json: No space left on device (os error 28)\"",
    ];
    let place = stack.state().display().to_string();
    let said = |watch: &Watch| {
        let lines = lines(watch, &about).into_iter();
        lines
            .map(|line| line.replace(&place, "STATE"))
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&watch), full);

    disk.empty();
    stack.until("it is kept", LONG, |_| said(&watch).len() == 3);
    stack.must(&["scale", "web=1"]);
    let mut all = full.to_vec();
    all.extend([
        "INFO holds and history are saved again",
        "INFO events are recorded again",
    ]);
    assert_eq!(said(&watch), all);
    assert!(watch.terminate().success());
}

#[test]
fn a_directory_of_upstreams_that_is_full_keeps_the_last_good_files() {
    if !real() {
        return;
    }
    let stack = stack();
    let upstreams = stack.project.directory().join("upstreams");
    let Some(disk) = Disk::mount(&upstreams) else {
        return;
    };
    stack.project.compose(&["up", "-d"]);
    let watch = stack.watch(&[]);
    stack.until("nginx is in step", LONG, |_| {
        watch.log().contains("nginx sends requests")
    });
    let good = fs::read_to_string(upstreams.join("web.conf")).expect("a file");
    disk.fill();
    let ran = stack.run(&["scale", "web=2", "--timeout", "8s"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let full = format!(
        "ERROR cannot write {}/.compose-scale-{}.undo: no space left on the disk; nginx goes on with the files of before service=\"web\"",
        upstreams.display(),
        stack.project.name
    );
    assert_eq!(lines(&watch, &["no space"]), std::slice::from_ref(&full));
    assert_eq!(
        fs::read_to_string(upstreams.join("web.conf")).expect("a file"),
        good
    );
    assert_eq!(stack.running().len(), 2, "nothing is stopped");

    disk.empty();
    stack.until("it is in step", LONG, |s| s.listed().len() == 2);
    stack.must(&["sync"]);
    assert_eq!(lines(&watch, &["no space"]), [full]);
    assert!(watch.terminate().success());
}

#[test]
fn a_log_on_a_small_disk_is_begun_anew_and_a_full_one_is_no_reading() {
    if !real() {
        return;
    }
    let project = ComposeProject::new(&format!(
        "\
x-autoscale:
  interval: 1s
  nginx:
    service: nginx
    upstreams: ./upstreams
    logs: {{dir: ./logs, inside: /var/log/compose-scale}}
services:
  web:
    image: WEB
    expose: [\"80\"]
    x-autoscale: {{max: 3, metrics: [requests: {{target: 1000, window: 5s}}]}}
  nginx:
    image: {}
    ports: [\"127.0.0.1::80\"]
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
      - ./upstreams:/etc/nginx/upstreams:ro
      - ./logs:/var/log/compose-scale
    depends_on: [web]
",
        new_nginx()
    ));
    project.write(
        "nginx.conf",
        "include /etc/nginx/upstreams/*.conf;
server {
    listen 80;
    location / { proxy_pass http://web; include /etc/nginx/upstreams/web.location*; }
}
",
    );
    let logs = project.directory().join("logs");
    let Some(disk) = Disk::of("512k", &logs) else {
        return;
    };
    // nginx starts in a directory that is there, also when its log is not.
    fs::create_dir_all(project.directory().join("upstreams")).expect("a directory");
    let stack = Stack::started(project);
    let watch = stack.watch(&[]);
    let load = stack.load(&["--duration", "120s", "--class", "all:connections=8,rps=400"]);
    let read = |s: &Stack| {
        let value = s.ps()["services"][0]["metrics"][0]["value"].as_f64();
        value.is_some_and(|value| (320.0..480.0).contains(&value))
    };
    let log = logs.join(format!("{}.log", stack.project.name));
    let mut before = 0;
    let mut begun = 0;
    // Together they are more than the disk holds.
    stack.until("it was begun anew five times", LONG * 2, |s| {
        let size = fs::metadata(&log).map_or(0, |log| log.len());
        begun += u32::from(size < before);
        before = size;
        begun >= 5 && read(s)
    });
    assert_eq!(lines(&watch, &["no space"]), [""; 0]);
    disk.fill();
    stack.until("a full one is no reading", LONG, |_| {
        watch
            .log()
            .contains("requests cannot be read: no space is left in ")
    });
    disk.empty();
    stack.until("it is read again", LONG, read);
    drop(load);
    assert!(watch.terminate().success());
}
