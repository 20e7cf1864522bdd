//! `init` and `init --undo` that are killed at any step: what is there then can be taken back, and written
//! once more.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output, Stdio},
};

use crate::shop::{ARTICLE, PLAIN, Shop};

/// What changes a directory, kind by kind, because strace counts each by itself; not every machine has all of
/// a kind.
const CALLS: [&str; 4] = [
    "?mkdir,?mkdirat",
    "?rename,?renameat,?renameat2",
    "?rmdir",
    "?unlink,?unlinkat",
];
const SIGKILL: i32 = 9;

/// The strace that is used; says so where there is none that may trace. In CI there must be one.
fn strace() -> Option<String> {
    let named = std::env::var("COMPOSE_SCALE_TEST_STRACE").ok();
    let named = named.filter(|name| !name.is_empty());
    // By its path: what is traced has a PATH of its own.
    let here = || {
        let all = std::env::var_os("PATH")?;
        let mut paths = std::env::split_paths(&all).map(|directory| directory.join("strace"));
        Some(
            paths
                .find(|path| path.is_file())?
                .to_string_lossy()
                .into_owned(),
        )
    };
    let program = named.or_else(here).unwrap_or_else(|| "strace".into());
    let mut works = Command::new(&program);
    works
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null());
    if works.status().is_ok_and(|status| status.success()) {
        return Some(program);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "COMPOSE_SCALE_TEST_STRACE must name strace in CI"
    );
    eprintln!("skipped: needs strace, and the right to trace");
    None
}

/// Runs a command whose process is killed in place of its call number `step` of a kind.
fn killed_at(strace: &str, calls: &str, step: usize, command: &assert_cmd::Command) -> Output {
    let mut traced = Command::new(strace);
    traced
        .args([
            "-f",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={calls}"),
            "-e",
        ])
        .arg(format!("inject={calls}:signal=KILL:when={}", step + 1))
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        traced.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced.output().unwrap()
}

/// Kills a run at its first step of a kind, on a project of its own; then at its second; and so on, until there
/// is no such step. Returns how many there were in all.
fn at_every_step(
    strace: &str,
    begin: impl Fn() -> Shop,
    run: &[&str],
    then: impl Fn(&Shop, usize),
) -> usize {
    let mut steps = 0;
    for calls in CALLS {
        for step in 0.. {
            let shop = begin();
            let output = killed_at(strace, calls, step, &shop.init(run));
            if output.status.success() {
                break;
            }
            // strace ends as what it traces did.
            let signal = output.status.signal();
            assert_eq!(signal, Some(SIGKILL), "{calls} {step}: {output:?}");
            then(&shop, step);
            steps += 1;
        }
    }
    steps
}

/// What is left can be taken back; nothing may have been written yet.
fn undo(shop: &Shop, step: usize) {
    let output = shop.init(&["--undo"]).output().unwrap();
    let code = output.status.code().unwrap();
    assert!(code == 0 || code == 78, "step {step}: {output:?}");
}

const COUNTS: &str = "# kept\nservices:\n  web:\n    scale: 5\n";
const LISTED: &str = "A='b'\nCOMPOSE_FILE=compose.yaml:compose.scale.yaml";

/// Projects without a `.env`, with one, and with an override that has counts.
fn projects() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        vec![("compose.yaml", PLAIN)],
        vec![("compose.yaml", ARTICLE), (".env", "TOKEN=secret")],
        vec![
            ("compose.yaml", PLAIN),
            ("compose.scale.yaml", COUNTS),
            (".env", LISTED),
        ],
        vec![("compose.yaml", PLAIN), ("compose.scale.yaml", COUNTS)],
    ]
}

#[test]
fn a_first_run_that_is_ended_anywhere_can_be_taken_back_and_finished() {
    let Some(strace) = strace() else {
        return;
    };
    for files in projects() {
        // Where things are is part of what is compared.
        let before = |shop: &Shop| {
            for (path, text) in &files {
                assert_eq!(shop.read(path), *text, "{path}");
            }
            assert_eq!(
                shop.everything().len(),
                files.len(),
                "{:?}",
                shop.everything()
            );
        };
        let steps = at_every_step(
            &strace,
            || Shop::new(&files),
            &["--yes"],
            |shop, step| {
                undo(shop, step);
                before(shop);
            },
        );
        assert!(steps >= 7, "{steps}");
        let finished = at_every_step(
            &strace,
            || Shop::new(&files),
            &["--yes"],
            |shop, _| {
                shop.init(&["--yes"]).assert().success();
                assert!(shop.load().policies.contains_key("web"));
                shop.init(&["--undo"]).assert().success();
                before(shop);
            },
        );
        assert_eq!(finished, steps);
    }
}

#[test]
fn a_second_run_that_is_ended_anywhere_can_be_taken_back_and_finished() {
    let Some(strace) = strace() else {
        return;
    };
    let file = ARTICLE.replace(
        "  db:\n",
        "  api: {image: api, ports: [\"9090:9090\"]}\n  db:\n",
    );
    let begin = || {
        let shop = Shop::new(&[("compose.yaml", &file), (".env", "A=b\n")]);
        shop.init(&["--yes", "--service", "web"]).assert().success();
        shop
    };
    let before = |shop: &Shop| {
        assert_eq!(shop.read(".env"), "A=b\n");
        assert_eq!(shop.everything().len(), 2, "{:?}", shop.everything());
    };
    let run = ["--yes", "--service", "api", "-f", "compose.yaml"];
    let steps = at_every_step(&strace, begin, &run, |shop, step| {
        undo(shop, step);
        before(shop);
    });
    assert!(steps >= 4, "{steps}");
    at_every_step(&strace, begin, &run, |shop, _| {
        shop.init(&run).assert().success();
        assert!(shop.load().policies.contains_key("api"));
        shop.init(&["--undo"]).assert().success();
        before(shop);
    });
}

#[test]
fn an_undo_that_is_ended_anywhere_can_be_finished() {
    let Some(strace) = strace() else {
        return;
    };
    for files in projects() {
        let begin = || {
            let shop = Shop::new(&files);
            shop.init(&["--yes"]).assert().success();
            shop
        };
        let steps = at_every_step(&strace, begin, &["--undo"], |shop, step| {
            undo(shop, step);
            for (path, text) in &files {
                assert_eq!(shop.read(path), *text, "{path}");
            }
            assert_eq!(
                shop.everything().len(),
                files.len(),
                "step {step}: {:?}",
                shop.everything()
            );
        });
        assert!(steps >= 5, "{steps}");
    }
}

#[test]
fn files_that_were_half_written_are_removed_too() {
    let shop = Shop::new(&[("compose.yaml", PLAIN), (".env", "TOKEN=secret\n")]);
    let before = shop.everything();
    shop.init(&["--yes"]).assert().success();
    for path in [
        "..env.tmp",
        ".compose.scale.yaml.tmp",
        "compose-scale/.init.json.tmp",
        "compose-scale/conf.d/.default.conf.tmp",
        "compose-scale/upstreams/.web.conf.tmp",
        "compose-scale/upstreams/.compose-scale-shop.lock",
    ] {
        shop.write(path, "half of i");
    }
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything(), before);

    // The very first write.
    shop.write("compose-scale/.init.json.tmp", "half of i");
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything(), before);
}
