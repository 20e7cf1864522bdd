//! `init` on a terminal: what it asks, what it makes of the answers, and that nothing is written before it
//! was shown and agreed to.

use crate::{
    shop::{ARTICLE, Shop},
    terminal::{Terminal, tmux},
};

/// `init` in a terminal that is large enough for all that it says.
fn begin(shop: &Shop) -> Option<Terminal> {
    let program = env!("CARGO_BIN_EXE_compose-scale");
    let script = format!(
        "trap : INT; cd '{}'\n\
         unset COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PROFILES COMPOSE_ENV_FILES COMPOSE_PATH_SEPARATOR\n\
         (PATH='{}' COMPOSE_SCALE_STATE='{}' DOCKER_HOST=unix:///nowhere/docker.sock exec '{program}' init)\n\
         echo \"ended with $?\"; stty -a | grep -o '.icanon'; exec cat\n",
        shop.path().display(),
        shop.programs().display(),
        shop.programs().join("state").display(),
    );
    Some(Terminal::begin(tmux()?, (160, 120), &script))
}

#[test]
fn an_answer_that_cannot_be_used_is_asked_for_again_and_the_diff_comes_before_the_last_question() {
    let shop = Shop::new(&[("compose.yaml", ARTICLE)]);
    let before = shop.everything();
    let Some(terminal) = begin(&shop) else {
        return;
    };
    let seen = terminal.until(&["Which services should scale?", "[web]"]);
    assert!(seen.contains("web: can be scaled"), "{seen}");
    assert!(
        seen.contains("db: cannot be scaled: its image is postgres"),
        "{seen}"
    );
    terminal.keys(&["wbe", "Enter"]);
    terminal.until(&["there is no service wbe; this project has web, db"]);
    terminal.keys(&["web db", "Enter"]);
    terminal.until(&["two replicas would not share their data; scale the services that use it"]);
    terminal.keys(&["Enter"]);
    terminal.until(&["how many replicas at least?", "[2]"]);
    terminal.keys(&["many", "Enter"]);
    terminal.until(&["expected a whole number from 1 to 1000"]);
    terminal.keys(&["3", "Enter"]);
    terminal.until(&["how many at most? [6]"]);
    terminal.keys(&["2", "Enter"]);
    terminal.until(&["expected a whole number from 3 to 1000"]);
    // Bytes that are no text.
    terminal.must(&["send-keys", "-H", "ff", "0d"]);
    terminal.keys(&["8", "Enter"]);
    terminal.until(&[
        "how busy should a replica be, in percent of one core?",
        "[60%]",
    ]);
    terminal.keys(&["much", "Enter"]);
    terminal.until(&["expected a share like 60%"]);
    terminal.keys(&["70", "Enter"]);
    let seen = terminal.until(&["Change these 4 files in "]);
    let place = |part: &str| {
        seen.find(part)
            .unwrap_or_else(|| panic!("no {part}:\n{seen}"))
    };
    assert!(place("how busy") < place("+++ b/compose.scale.yaml"));
    assert!(place("+++ b/compose.scale.yaml") < place("+COMPOSE_FILE="));
    assert!(place("+COMPOSE_FILE=") < place("Change these 4 files"));
    assert_eq!(shop.everything(), before);
    terminal.keys(&["perhaps", "Enter"]);
    terminal.until(&["please say y or n"]);
    assert_eq!(shop.everything(), before);
    terminal.keys(&["Y", "Enter"]);
    terminal.until(&["next:", "ended with 0", " icanon"]);
    let policy = &shop.load().policies["web"];
    assert_eq!((policy.min, policy.max), (3, 8));
    assert!(shop.read("compose.scale.yaml").contains("- cpu: 70%"));
}

#[test]
fn enter_at_the_last_question_writes_nothing() {
    let shop = Shop::new(&[("compose.yaml", ARTICLE)]);
    let before = shop.everything();
    let Some(terminal) = begin(&shop) else {
        return;
    };
    for question in ["[web]", "[2]", "[6]", "[60%]", "[y/N]"] {
        terminal.until(&[question]);
        terminal.keys(&["Enter"]);
    }
    terminal.until(&["nothing was written", "ended with 0"]);
    assert_eq!(shop.everything(), before);
}

#[test]
fn the_end_of_input_and_ctrl_c_write_nothing_at_any_question() {
    for (key, code, words) in [
        (
            "C-d",
            "ended with 2",
            "nothing was written: there was no answer",
        ),
        ("C-c", "ended with 130", "^C"),
    ] {
        for answered in [0, 2, 4] {
            let shop = Shop::new(&[("compose.yaml", ARTICLE)]);
            let before = shop.everything();
            let Some(terminal) = begin(&shop) else {
                return;
            };
            let questions = ["[web]", "[2]", "[6]", "[60%]", "[y/N]"];
            for question in &questions[..answered] {
                terminal.until(&[question]);
                terminal.keys(&["Enter"]);
            }
            terminal.until(&[questions[answered]]);
            terminal.keys(&[key]);
            let seen = terminal.until(&[code, words, " icanon"]);
            assert_eq!(shop.everything(), before, "{seen}");
        }
    }
}

#[test]
fn what_was_edited_while_a_question_was_open_is_not_overwritten() {
    let shop = Shop::new(&[("compose.yaml", ARTICLE), (".env", "A=b\n")]);
    let Some(terminal) = begin(&shop) else {
        return;
    };
    for question in ["[web]", "[2]", "[6]", "[60%]"] {
        terminal.until(&[question]);
        terminal.keys(&["Enter"]);
    }
    terminal.until(&["[y/N]"]);
    shop.write(".env", "A=b\nTOKEN=new\n");
    let mine = shop.everything();
    terminal.keys(&["y", "Enter"]);
    terminal.until(&[".env was changed in the meantime", "ended with 1"]);
    assert_eq!(shop.everything(), mine);
}

#[test]
fn of_several_nginx_one_is_chosen_and_a_worker_has_no_port() {
    let shop = Shop::new(&[(
        "compose.yaml",
        "services:\n  edge: {image: nginx}\n  inner: {image: nginx}\n  jobs: {image: jobs, cpus: 0.5}\n",
    )]);
    let Some(terminal) = begin(&shop) else {
        return;
    };
    terminal.until(&["Several services run nginx: edge, inner.", "[edge]"]);
    terminal.keys(&["jobs", "Enter"]);
    terminal.until(&["jobs is not one of them: edge, inner"]);
    terminal.keys(&["inner", "Enter"]);
    terminal.until(&["[none]"]);
    terminal.keys(&["jobs", "Enter"]);
    for question in [
        "[2]",
        "[4]",
        "percent of its CPU limit? Above that, more are started [60%]",
    ] {
        terminal.until(&[question]);
        terminal.keys(&["Enter"]);
    }
    terminal.until(&["on which port does it receive requests?", "[none]"]);
    terminal.keys(&["http", "Enter"]);
    terminal.until(&["expected a port from 1 to 65535, or none"]);
    terminal.keys(&["8000", "Enter"]);
    terminal.until(&["[y/N]"]);
    terminal.keys(&["yes", "Enter"]);
    terminal.until(&["proxy_pass http://jobs;", "ended with 0"]);
    let loaded = shop.load();
    assert_eq!(loaded.policies["jobs"].port, Some(8000));
    assert_eq!(loaded.project.services["inner"].volumes.len(), 1);
}
