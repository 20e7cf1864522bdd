//! `init` where something is there already: files that were tuned, services that are gone, counts that
//! somebody keeps, a project above.

use std::{collections::BTreeMap, fs};

use compose_scale::{files, state::StateDir};
use predicates::{prelude::PredicateBooleanExt as _, str::contains};

use crate::shop::{ARTICLE, PLAIN, Shop};

const RECORD: &str = "compose-scale/init.json";
const SITE: &str = "compose-scale/conf.d/default.conf";

#[test]
fn a_file_that_was_tuned_stays_as_long_as_nothing_new_belongs_in_it() {
    let file = ARTICLE.replace(
        "  db:\n",
        "  api: {image: api, ports: [\"9090:9090\"]}\n  db:\n",
    );
    let shop = Shop::new(&[("compose.yaml", &file)]);
    shop.init(&["--yes", "--service", "web"]).assert().success();
    let tuned = shop.read(SITE) + "# gzip on, later\n";
    shop.write(SITE, &tuned);
    shop.init(&["--yes", "--max", "9"])
        .assert()
        .success()
        .stderr(contains("default.conf: kept with your changes"));
    assert_eq!(shop.load().policies["web"].max, 9);
    assert_eq!(shop.read(SITE), tuned);
    shop.init(&["--yes"])
        .assert()
        .success()
        .stderr(contains("kept with your changes").and(contains("set up already")));

    // Another server belongs in it: that is for its owner to write.
    let mine = shop.everything();
    shop.init(&["--yes", "--service", "api"])
        .assert()
        .code(1)
        .stdout(contains("+    listen 9090;"))
        .stderr(contains(
            "default.conf was not written by `init`, or was changed since",
        ));
    assert_eq!(shop.everything(), mine);
    shop.init(&["--undo"])
        .assert()
        .code(1)
        .stderr(contains("default.conf: it was changed since"));
    assert_eq!(shop.read(SITE), tuned);
    assert!(!shop.path().join("compose.scale.yaml").exists());
}

#[test]
fn a_file_of_ones_own_that_is_replaced_comes_back() {
    let mine = "# mine\r\nserver { listen 80; }";
    let shop = Shop::new(&[("compose.yaml", ARTICLE), (SITE, mine)]);
    let before = shop.everything();
    shop.init(&["--yes", "--force"]).assert().success();
    assert!(shop.read(SITE).contains("listen 8080;"));

    // Neither another run with --force nor one that needs no such file loses it.
    shop.write(SITE, &(shop.read(SITE) + "# tuned\n"));
    shop.init(&["--undo"])
        .assert()
        .code(1)
        .stderr(contains("`init --undo --force` restores the previous file"));
    shop.init(&["--yes", "--force", "--max", "9"])
        .assert()
        .success();
    shop.init(&["--undo"])
        .assert()
        .success()
        .stderr(contains("default.conf: as before"));
    assert_eq!(shop.everything(), before);

    shop.init(&["--yes", "--force"]).assert().success();
    shop.init(&["--yes", "--nginx", "host"]).assert().success();
    assert_eq!(shop.read(SITE), mine);
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything(), before);

    // The record is JSON, which has no place for such bytes.
    files::replace(&shop.path().join(SITE), b"# \xff\n").unwrap();
    let before = shop.everything();
    shop.init(&["--yes", "--force"]).assert().code(1).stderr(
        contains("default.conf is your own file and not UTF-8").and(contains("move it away")),
    );
    assert_eq!(shop.everything(), before);
}

#[test]
fn where_the_record_is_lost_or_damaged_the_way_out_is_told() {
    let shop = Shop::new(&[("compose.yaml", ARTICLE)]);
    shop.init(&["--yes"]).assert().success();
    let record = shop.read(RECORD);
    let way_out = || {
        contains("restore it from version control")
            .and(contains(
                "remove compose.scale.yaml from COMPOSE_FILE in .env",
            ))
            .and(contains("delete compose.scale.yaml and compose-scale/"))
            .and(contains("docker compose up -d --remove-orphans"))
    };
    shop.write(RECORD, &record[..record.len() / 2]);
    let damaged = shop.everything();
    for run in ["--yes", "--undo"] {
        shop.init(&[run])
            .assert()
            .code(1)
            .stderr(contains("init.json cannot be read").and(way_out()));
    }
    assert_eq!(shop.everything(), damaged);

    fs::remove_file(shop.path().join(RECORD)).unwrap();
    let lost = shop.everything();
    for run in ["--yes", "--undo"] {
        shop.init(&[run]).assert().code(78).stderr(
            contains("compose-scale/init.json is missing")
                .and(way_out())
                .and(contains("not made by `init`").not()),
        );
    }
    assert_eq!(shop.everything(), lost);
    // Nor is it said that there is nothing, where the record was all there was beside the override.
    fs::remove_dir_all(shop.path().join("compose-scale")).unwrap();
    fs::create_dir(shop.path().join("compose-scale")).unwrap();
    shop.init(&["--undo"]).assert().code(78).stderr(way_out());

    shop.write(RECORD, &record);
    shop.init(&["--undo"]).assert().success();
}

#[test]
fn a_service_that_is_gone_is_taken_out_of_the_override() {
    let file = ARTICLE.replace(
        "  db:\n",
        "  api: {image: api, ports: [\"9090:9090\"]}\n  db:\n",
    );
    let shop = Shop::new(&[("compose.yaml", &file)]);
    shop.init(&["--yes", "--service", "web", "--service", "api"])
        .assert()
        .success();
    shop.write("compose.yaml", ARTICLE);
    shop.init(&["--yes"])
        .assert()
        .success()
        .stdout(contains("-  api:\n").and(contains("-    listen 9090;")))
        .stderr(contains("api: no longer a service of this project"));
    let loaded = shop.load();
    assert_eq!(loaded.policies.keys().collect::<Vec<_>>(), ["web"]);

    // The last one, and another in its place.
    shop.write("compose.yaml", &ARTICLE.replace("  web:\n", "  front:\n"));
    shop.init(&["--yes"])
        .assert()
        .success()
        .stderr(contains("web: no longer a service").and(contains("front: can be scaled")));
    let loaded = shop.load();
    assert_eq!(loaded.policies.keys().collect::<Vec<_>>(), ["front"]);
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything().len(), 1);
}

#[test]
fn an_nginx_that_is_gone_is_looked_for_anew_and_a_profile_that_is_off_is_said() {
    let with = "services:\n  web: {image: a, expose: [\"80\"], profiles: [live]}\n  edge: {image: nginx, profiles: [live]}\n";
    let shop = Shop::new(&[("compose.yaml", with)]);
    let yes = ["--yes", "--service", "web", "--profile", "live"];
    shop.init(&yes).assert().success();
    shop.init(&["--yes"])
        .assert()
        .code(2)
        .stderr(contains("web: its profile is disabled").and(contains("--profile")));
    shop.write("compose.yaml", &with.replace("edge:", "door:"));
    shop.init(&yes)
        .assert()
        .success()
        .stdout(contains("+    service: door"))
        .stderr(contains("edge: no longer a service"));
    shop.load();
}

#[test]
fn a_file_of_nothing_but_counts_is_taken_over_with_them_and_comes_back() {
    let counts = "# kept by watch\nservices:\n  web:\n    deploy:\n      replicas: 5\n  db:\n    scale: 1\n  gone:\n    scale: 2\n";
    let env = "COMPOSE_FILE=compose.yaml:compose.scale.yaml\n";
    let file = ARTICLE.replace("  db:\n", "  gone: {image: gone}\n  db:\n");
    let shop = Shop::new(&[
        ("compose.yaml", &file),
        ("compose.scale.yaml", counts),
        (".env", env),
    ]);
    let before = shop.everything();
    shop.init(&["--yes", "--service", "web"]).assert().success();
    assert_eq!(shop.read(".env"), env);
    let loaded = shop.load();
    let scales = |name: &str| loaded.project.services[name].scale;
    assert_eq!(
        (scales("web"), scales("db"), scales("gone")),
        (Some(5), Some(1), Some(2))
    );
    assert_eq!(loaded.policies["web"].max, 10);

    // What is kept there since is kept by another run too.
    let text = shop
        .read("compose.scale.yaml")
        .replace("replicas: 5", "replicas: 7");
    shop.write("compose.scale.yaml", &text);
    shop.write("compose.yaml", ARTICLE);
    shop.init(&["--yes", "--max", "12"]).assert().success();
    let loaded = shop.load();
    assert_eq!(loaded.project.services["web"].scale, Some(7));
    assert!(!shop.read("compose.scale.yaml").contains("gone"));
    shop.write("compose.yaml", &file);
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything(), before);
}

#[test]
fn files_that_are_named_a_second_time_are_taken_back_to_the_first() {
    let shop = Shop::new(&[
        ("base.yml", ARTICLE),
        ("extra.yml", "services: {web: {environment: {A: b}}}\n"),
        (".env", "A=b\n"),
    ]);
    let before = shop.everything();
    shop.init(&["--yes", "-f", "base.yml"]).assert().success();
    shop.init(&["--yes", "-f", "base.yml", "-f", "extra.yml"])
        .assert()
        .success();
    assert!(
        shop.read(".env")
            .contains("base.yml:extra.yml:compose.scale.yaml")
    );
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything(), before);
}

#[test]
fn a_project_below_another_one_takes_back_its_own_and_never_the_other() {
    let shop = Shop::new(&[
        ("compose.yaml", PLAIN),
        ("below/compose.yml", PLAIN),
        ("listed/.env", "COMPOSE_FILE=mine.yml\n"),
        ("listed/mine.yml", PLAIN),
        ("part/readme", "of the project above"),
    ]);
    let before = shop.everything();
    shop.init(&["--yes"]).assert().success();
    let first = shop.everything();
    for below in ["below", "listed"] {
        shop.init(&["--undo"])
            .current_dir(shop.path().join(below))
            .assert()
            .code(78)
            .stderr(contains(format!(
                "in {}",
                shop.path().join(below).display()
            )));
        assert_eq!(shop.everything(), first, "{below}");
    }
    shop.init(&["--yes"])
        .current_dir(shop.path().join("below"))
        .assert()
        .success();
    shop.init(&["--undo"])
        .current_dir(shop.path().join("below"))
        .assert()
        .success();
    assert_eq!(shop.everything(), first);
    shop.init(&["--undo"])
        .current_dir(shop.path().join("part"))
        .assert()
        .success();
    assert_eq!(shop.everything(), before);
}

#[test]
fn a_project_whose_files_are_in_a_directory_below_is_taken_back_from_above() {
    let shop = Shop::new(&[
        ("deploy/compose.yml", PLAIN),
        (".env", "COMPOSE_FILE=deploy/compose.yml\n"),
    ]);
    let before = shop.everything();
    shop.init(&["--yes"]).assert().success().stderr(contains(
        "/deploy    # COMPOSE_FILE in .env applies only there",
    ));
    assert!(shop.path().join("deploy/compose.scale.yaml").exists());
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything(), before);
}

#[test]
fn the_watch_that_counts_is_that_of_the_project_that_is_taken_back() {
    let shop = Shop::new(&[("shop/compose.yaml", PLAIN), ("other/compose.yaml", PLAIN)]);
    let home = shop.path().join("home");
    fs::create_dir(&home).unwrap();
    let there = |arguments: &[&str]| {
        let mut command = shop.init(arguments);
        command
            .current_dir(shop.path().join("other"))
            .env_remove("COMPOSE_SCALE_STATE")
            .env_remove("STATE_DIRECTORY")
            .env("XDG_STATE_HOME", &home)
            .env("HOME", &home);
        command
    };
    shop.init(&["--yes"])
        .current_dir(shop.path().join("shop"))
        .assert()
        .success();
    let env = BTreeMap::from([
        ("XDG_STATE_HOME".to_owned(), home.display().to_string()),
        ("HOME".to_owned(), home.display().to_string()),
    ]);
    let undo = ["--undo", "--project-directory", "../shop"];
    let lock = StateDir::locate(&env, "shop").lock().unwrap();
    there(&undo).assert().code(75);
    // It runs on with the file as it was.
    shop.write("shop/compose.yaml", "services: [\n");
    there(&undo).assert().code(75);
    shop.write("shop/compose.yaml", PLAIN);
    drop(lock);
    let lock = StateDir::locate(&env, "other").lock().unwrap();
    there(&undo).assert().success();
    drop(lock);
    assert!(!shop.path().join("shop/.env").exists());
}

#[test]
fn a_directory_of_upstreams_that_was_there_is_as_before() {
    let file = "x-autoscale: {nginx: {service: nginx, upstreams: ./up}}\nservices:\n  \
                web: {image: a, expose: [\"80\"]}\n  nginx: {image: nginx, volumes: [\"./up:/etc/nginx/up:ro\"]}\n";
    let shop = Shop::new(&[("compose.yaml", file), ("up/readme", "mine\n")]);
    let before = shop.everything();
    shop.init(&["--yes"])
        .assert()
        .success()
        .stderr(contains("include /etc/nginx/up/*.conf;"));
    shop.write("up/.compose-scale-shop.lock", "1\n");
    shop.init(&["--undo", "--dry-run"]).assert().success();
    shop.init(&["-p", "shop", "--undo"]).assert().success();
    assert_eq!(shop.everything(), before);
}
