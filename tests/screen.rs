//! The live screen in a real terminal: tmux, as over ssh, on the simulated Engine.

use std::{
    fs, io::Write as _, ops::Deref, path::Path, process::Command, sync::mpsc, thread,
    time::Duration,
};

use compose_scale::sim::{App, Daemon, LoadShape, MachineSpec, SimulatedHost, World};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

#[path = "support/terminal.rs"]
mod terminal;

use terminal::{LONG, Terminal, now, tmux};

const YAML: &str = "\
name: shop
x-autoscale:
  interval: 1s
  nginx: {service: nginx, upstreams: ./upstreams}
  host: {reserve_memory: none, reserve_cpu: none}
services:
  web:
    image: app:1
    expose: [\"80\"]
    healthcheck: {test: [\"CMD\", \"true\"]}
    x-autoscale:
      min: 1
      max: 4
      metrics: [{cpu: 60%}]
  nginx:
    image: nginx:1.30
    volumes: [\"./upstreams:/etc/nginx/upstreams:ro\"]
";

/// `watch` in a terminal of 80 columns and 24 lines, on a simulated Engine.
struct Stage {
    terminal: Terminal,
    directory: TempDir,
    daemon: Daemon,
    end: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Stage {
    fn begin(tmux: String) -> Self {
        Self::with(tmux, "watch")
    }

    /// Another command instead.
    fn with(tmux: String, command: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let upstreams = directory.path().join("upstreams");
        fs::create_dir(&upstreams).expect("a directory");
        write(&directory.path().join("compose.yaml"), YAML);
        let socket = directory.path().join("docker.sock");
        let (sender, daemon) = mpsc::channel();
        let end = CancellationToken::new();
        let until = end.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let mut web = App::named("web");
                web.profile.start_time = Duration::from_millis(300);
                web.load = LoadShape::steady(5.0);
                let now = jiff::Timestamp::from_second(1_800_000_000).expect("a time");
                let world = World::begin("shop", MachineSpec::default(), vec![web], 1, now);
                let host = SimulatedHost::new(world.on_networks(&["default"]));
                let daemon = Daemon::listen(host, &socket, &upstreams).expect("a socket");
                sender.send(daemon).expect("somebody waits");
                until.cancelled().await;
            });
        });
        let daemon = daemon.recv().expect("a daemon");
        let program = env!("CARGO_BIN_EXE_compose-scale");
        let here = directory.path().display();
        let script = format!(
            "cd '{here}'; export DOCKER_HOST=unix://{here}/docker.sock COMPOSE_SCALE_STATE={here}/state; \
             unset COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PROFILES; \
             '{program}' {command}; echo \"ended with $?\"; stty -a | grep -o '.icanon'; exec cat\n"
        );
        Self {
            terminal: Terminal::begin(tmux, (80, 24), &script),
            daemon,
            directory,
            end,
            thread: Some(thread),
        }
    }

    /// The process that is at work.
    fn pid(&self) -> String {
        let lock = self.directory.path().join("state/lock");
        let pid = fs::read_to_string(lock).expect("who is at work");
        pid.trim().to_owned()
    }

    fn until_two_serve(&self) {
        let begun = now();
        while self.daemon.served("web").len() != 2 {
            assert!(begun.elapsed() < LONG, "{}", self.seen());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// It is out of the alternate screen, with a cursor, and the line is edited by the terminal again.
    fn is_clean(&self, code: &str) {
        let seen = self.until(&[&format!("ended with {code}"), " icanon"]);
        assert!(!seen.contains("host  cpu"), "{seen}");
        let flags = self.must(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(flags.trim(), "0 1", "{seen}");
    }
}

impl Deref for Stage {
    type Target = Terminal;

    fn deref(&self) -> &Terminal {
        &self.terminal
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.terminal.close();
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn terminate(pid: &str) {
    let kill = Command::new("kill").args(["-TERM", pid]).status();
    assert!(kill.expect("kill").success());
}

fn write(path: &Path, text: &str) {
    fs::File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a file");
}

#[test]
fn it_is_drawn_in_tmux_obeys_keys_resizes_and_leaves_the_terminal_clean() {
    let Some(tmux) = tmux() else {
        return;
    };
    let stage = Stage::begin(tmux);
    stage.until(&["compose-scale  shop", "1 of 1", "↑↓ choose", "nginx ✓"]);
    stage.keys(&["+"]);
    stage.until(&["●●", "2 of 2", "held at 2 until"]);
    stage.until_two_serve();
    stage.keys(&["p"]);
    stage.until(&["scaling is paused"]);
    stage.keys(&["Enter"]);
    stage.until(&["REPLICA", "shop-web-2  serving"]);
    stage.keys(&["?"]);
    stage.until(&["add or remove one replica"]);
    stage.keys(&["Escape"]);
    stage.until(&["REPLICA"]);
    stage.keys(&["Escape"]);
    stage.until(&["↑↓ choose"]);

    stage.must(&["resize-window", "-x", "60", "-y", "14"]);
    stage.until(&["2 of 2", "↑↓ choose"]);
    stage.must(&["resize-window", "-x", "100", "-y", "30"]);
    stage.until(&["2 of 2", "↑↓ choose"]);

    stage.daemon.crash("shop-web-2");
    stage.until(&["shop-web-2 died"]);
    stage.until_two_serve();

    stage.keys(&["q"]);
    stage.until(&["stop watch?"]);
    stage.keys(&["y"]);
    stage.is_clean("0");
    assert_eq!(stage.daemon.served("web").len(), 2);
}

#[test]
fn the_demo_is_played_on_it_and_may_be_touched() {
    let Some(tmux) = tmux() else {
        return;
    };
    let stage = Stage::with(tmux, "demo --speed 30");
    stage.until(&["A shop with two services", "▸ web", "↑↓ choose"]);
    stage.until(&["A link is shared"]);
    stage.keys(&["Down", "+"]);
    stage.until(&["▸ api", "held at"]);
    stage.keys(&["q", "y"]);
    let seen = stage.until(&["Summary:", "ended with 0", " icanon"]);
    assert!(!seen.contains("↑↓ choose"), "{seen}");
}

#[test]
fn ctrl_c_and_a_signal_leave_it_clean_too() {
    let Some(tmux) = tmux() else {
        return;
    };
    let stage = Stage::begin(tmux.clone());
    stage.until(&["1 of 1"]);
    stage.keys(&["C-c"]);
    stage.is_clean("0");
    drop(stage);

    let stage = Stage::begin(tmux);
    stage.until(&["1 of 1"]);
    terminate(&stage.pid());
    stage.is_clean("0");
}

#[test]
fn a_panic_gives_the_terminal_back_and_the_loop_goes_on_or_ends_as_the_build_wants() {
    let Some(tmux) = tmux() else {
        return;
    };
    let stage = Stage::begin(tmux);
    stage.until(&["1 of 1"]);
    stage.keys(&["F12"]);
    stage.until(&["F12 was pressed"]);
    let flags = stage.must(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
    assert_eq!(flags.trim(), "0 1");
    // Where a panic does not end the program, it is the screen's alone.
    terminate(&stage.pid());
    stage.is_clean("0");
}

#[test]
fn a_terminal_that_is_closed_ends_the_screen_and_not_the_loop() {
    let Some(tmux) = tmux() else {
        return;
    };
    let stage = Stage::begin(tmux);
    stage.until(&["1 of 1"]);
    let pid = stage.pid();
    stage.must(&["kill-server"]);
    let has_thread = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        tasks.flatten().any(|task| {
            let name = fs::read_to_string(task.path().join("comm"));
            name.is_ok_and(|name| name.trim() == "screen")
        })
    };
    let begun = now();
    while has_thread() {
        assert!(begun.elapsed() < LONG, "the screen goes on");
        thread::sleep(Duration::from_millis(50));
    }
    stage.daemon.crash("shop-web-1");
    let begun = now();
    while stage.daemon.served("web").len() != 1 {
        assert!(begun.elapsed() < LONG, "it is not mended");
        thread::sleep(Duration::from_millis(50));
    }
    terminate(&pid);
    let begun = now();
    while Path::new(&format!("/proc/{pid}/cwd")).exists() {
        assert!(begun.elapsed() < LONG, "it does not end");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn half_a_key_stops_nothing_and_what_others_wrote_is_drawn_over() {
    let Some(tmux) = tmux() else {
        return;
    };
    let stage = Stage::begin(tmux);
    stage.until(&["1 of 1"]);
    // The beginning of an arrow.
    stage.must(&["send-keys", "-H", "1b", "5b"]);
    stage.daemon.crash("shop-web-1");
    stage.until(&["shop-web-1 died"]);
    stage.keys(&["?"]);
    stage.until(&["redraw the screen"]);
    stage.keys(&["C-l", "Escape"]);
    stage.until(&["▸ web", "↑↓ choose"]);
}
