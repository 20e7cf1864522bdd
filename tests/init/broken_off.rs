//! `init` and `init --undo` that are ended at any step, as by `kill -9`: what is there then can be taken
//! back, and written once more.

#![cfg(debug_assertions)]

use crate::shop::{ARTICLE, PLAIN, Shop};

/// What a process that is killed ends with.
const KILLED: i32 = 137;

/// Ends a run before its first step, on a project of its own; then before its second; and so on, until
/// there is no such step. Returns how many there were.
fn at_every_step(begin: impl Fn() -> Shop, run: &[&str], then: impl Fn(&Shop, usize)) -> usize {
    for step in 0.. {
        let shop = begin();
        let mut command = shop.init(run);
        command.env("COMPOSE_SCALE_TEST_END_AT_STEP", step.to_string());
        let code = command.output().unwrap().status.code().unwrap();
        if code == 0 {
            return step;
        }
        assert_eq!(code, KILLED, "step {step}");
        then(&shop, step);
    }
    unreachable!("a run ends")
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
            || Shop::new(&files),
            &["--yes"],
            |shop, step| {
                undo(shop, step);
                before(shop);
            },
        );
        assert!(steps >= 7, "{steps}");
        let finished = at_every_step(
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
    let steps = at_every_step(begin, &run, |shop, step| {
        undo(shop, step);
        before(shop);
    });
    assert!(steps >= 4, "{steps}");
    at_every_step(begin, &run, |shop, _| {
        shop.init(&run).assert().success();
        assert!(shop.load().policies.contains_key("api"));
        shop.init(&["--undo"]).assert().success();
        before(shop);
    });
}

#[test]
fn an_undo_that_is_ended_anywhere_can_be_finished() {
    for files in projects() {
        let begin = || {
            let shop = Shop::new(&files);
            shop.init(&["--yes"]).assert().success();
            shop
        };
        let steps = at_every_step(begin, &["--undo"], |shop, step| {
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
