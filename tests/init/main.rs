//! `init` without an Engine: what it writes for a handful of projects, what it says where it cannot,
//! and that all of it can be taken back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use compose_scale::{compose, files};
use predicates::{prelude::PredicateBooleanExt as _, str::contains};

mod again;
mod broken_off;
mod fronts;
mod questions;
mod shop;
#[path = "../support/terminal.rs"]
mod terminal;

use shop::{ARTICLE, PLAIN, Shop};

#[test]
fn the_articles_file_gets_an_nginx_that_takes_its_port_over() {
    let shop = Shop::new(&[("compose.yaml", ARTICLE)]);
    let before = shop.everything();
    let shown = shop.said(&["--dry-run"]);
    assert_eq!(shop.everything(), before);
    assert!(shown.contains("ends with 0"));
    insta::assert_snapshot!(shop.said(&["--yes"]));

    let loaded = shop.load();
    assert!(loaded.project.services["web"].ports.is_empty());
    assert_eq!(loaded.policies["web"].port, Some(80));
    assert_eq!(
        loaded.project.services["nginx"].ports[0]
            .published
            .as_deref(),
        Some("8080")
    );
    assert_eq!(shop.read("compose.yaml"), ARTICLE);

    shop.init(&["--undo"])
        .assert()
        .success()
        .stdout("")
        .stderr(contains("docker compose up -d --remove-orphans"));
    assert_eq!(shop.everything(), before);
    shop.init(&["--undo"])
        .assert()
        .code(78)
        .stderr(contains("nothing here was set up"));
}

#[test]
fn two_services_with_ports_get_two_servers_and_a_dotenv_keeps_its_other_lines_and_its_mode() {
    let shop = Shop::new(&[
        (
            "docker-compose.yml",
            "name: shop\nservices:\n  web:\n    build: .\n    ports: [\"127.0.0.1:8080:3000\"]\n    networks: [front]\n  \
             admin:\n    image: admin\n    ports: [\"9090:80\"]\n    networks: [front, back]\n    cpus: 0.5\n  \
             jobs:\n    image: jobs\nnetworks: {front: {}, back: {}}\n",
        ),
        (
            "docker-compose.override.yml",
            "services: {admin: {scale: 1}}\n",
        ),
        (".env", "# mine\nTOKEN=secret"),
    ]);
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(shop.path().join(".env"), mode).unwrap();
    let before = shop.everything();
    let said = shop.said(&["--yes", "--cpu", "70", "--nginx-image", "nginx:1.29-alpine"]);
    assert!(!said.contains("secret"), "{said}");
    insta::assert_snapshot!(said);
    assert_eq!(
        shop.read(".env"),
        "# mine\nTOKEN=secret\nCOMPOSE_FILE=docker-compose.yml:docker-compose.override.yml:compose.scale.yaml\n"
    );
    assert_eq!(shop.load().project.services["admin"].scale, Some(1));
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything(), before);
}

#[test]
fn each_service_is_said_to_be_taken_or_why_it_is_not() {
    let shop = Shop::new(&[(
        "compose.yaml",
        "services:\n  web: {image: web, ports: [\"8080:80\"]}\n  db: {image: my/db}\n",
    )]);
    shop.init(&["--yes"]).assert().success().stderr(
        contains("web: can be scaled\n").and(contains(
            "db: not selected: it has no port; if several replicas can share the work, add --service db\n",
        )),
    );
    assert!(!shop.load().policies.contains_key("db"));
}

const WITH_NGINX: &str = "\
name: shop
services:
  web:
    image: my-web-app:latest
    expose: [\"8000\"]
    deploy: {replicas: 1, resources: {limits: {cpus: \"0.25\"}}}
  nginx:
    image: nginx:1.30
    ports: [\"80:80\"]
    volumes: [\"./site.conf:/etc/nginx/conf.d/default.conf:ro\"]
    depends_on: [web]
";

#[test]
fn an_nginx_of_the_project_gets_a_volume_and_its_owner_two_lines_to_write() {
    let shop = Shop::new(&[
        ("compose.yaml", WITH_NGINX),
        (".env", "export COMPOSE_FILE=\"compose.yaml\" # all of it\n"),
    ]);
    let before = shop.everything();
    insta::assert_snapshot!(shop.said(&["--yes", "--min", "2", "--max", "8"]));
    assert_eq!(
        shop.read(".env"),
        "export COMPOSE_FILE=\"compose.yaml:compose.scale.yaml\" # all of it\n"
    );
    assert_eq!(shop.load().project.services["nginx"].volumes.len(), 2);
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything(), before);
}

#[test]
fn an_nginx_of_this_machine_is_told_what_to_include() {
    let shop = Shop::new(&[(
        "compose.yml",
        "name: shop\nservices: {web: {image: web, ports: [\"8080:80\"]}}\n",
    )]);
    insta::assert_snapshot!(shop.said(&["--yes", "--nginx", "host"]));
    shop.load();
}

#[test]
fn an_nginx_that_has_not_been_written_for_yet_is_told_when_its_files_are_there() {
    for (nginx, reload) in [
        (
            "{host: true, upstreams: ./up}",
            "sudo nginx -t && sudo nginx -s reload",
        ),
        (
            "{container: edge, upstreams: ./up}",
            "docker exec edge nginx -t && docker exec edge nginx -s reload",
        ),
    ] {
        let file = format!(
            "x-autoscale: {{nginx: {nginx}}}\nservices: {{web: {{image: web, expose: [\"80\"]}}}}\n"
        );
        let shop = Shop::new(&[("compose.yml", &file)]);
        let commands = format!(
            "next, after adding those lines:\n  docker compose up -d\n  compose-scale sync\n  {reload}\n  compose-scale check\n"
        );
        shop.init(&["--yes"])
            .assert()
            .success()
            .stderr(contains(commands));
        shop.load();
    }
}

#[test]
fn where_nothing_can_be_scaled_each_reason_and_its_fix_is_told() {
    let shop = Shop::new(&[(
        "compose.yaml",
        "services:\n  web: {image: web, container_name: web, ports: [\"80:80\"]}\n  db: {image: \"postgres:17\"}\n  \
         edge: {image: \"traefik:3\", ports: [\"8443:443\"]}\n  host: {image: x, network_mode: host}\n  \
         tls: {image: x, ports: [\"443:443\"]}\n  two: {image: x, ports: [\"81:81\", \"82:82\"]}\n  \
         dns: {image: x, ports: [\"53:53/udp\"]}\n  inner: {image: x, expose: [\"80\"]}\n  \
         done: {image: x, x-autoscale: {max: 2}}\n  migrate: {image: x}\n  \
         app: {image: x, network_mode: \"service:web\", depends_on: {migrate: {condition: service_completed_successfully}}}\n",
    )]);
    let before = shop.everything();
    insta::assert_snapshot!(shop.said(&["--yes"]));
    insta::assert_snapshot!(shop.said(&["--yes", "--service", "web", "--service", "tls"]));
    assert_eq!(shop.everything(), before);
}

#[test]
fn a_second_run_adds_to_the_first_and_touches_nothing_that_was_changed_since() {
    let file = ARTICLE.replace(
        "  db:\n",
        "  api: {image: api, ports: [\"9090:9090\"]}\n  db:\n",
    );
    let shop = Shop::new(&[("compose.yaml", &file)]);
    let before = shop.everything();
    shop.init(&["--yes", "--service", "web"]).assert().success();
    let first = shop.everything();
    shop.init(&["--yes"])
        .assert()
        .success()
        .stdout("")
        .stderr(contains("set up already"));
    assert_eq!(shop.everything(), first);

    insta::assert_snapshot!(shop.said(&["--yes", "--service", "api", "--max", "3"]));
    let loaded = shop.load();
    assert_eq!(loaded.policies["api"].max, 3);
    assert_eq!(loaded.policies["web"].max, 6);

    let changed = shop.read("compose.scale.yaml").replace("max: 6", "max: 7");
    shop.write("compose.scale.yaml", &changed);
    let mine = shop.everything();
    shop.init(&["--yes", "--service", "api", "--max", "4"])
        .assert()
        .code(1)
        .stdout(contains("+      max: 4"))
        .stderr(contains(
            "compose.scale.yaml was not written by `init`, or was changed since",
        ));
    assert_eq!(shop.everything(), mine);

    shop.init(&["--undo"]).assert().code(1).stderr(
        contains("compose.scale.yaml: it was changed since")
            .and(contains("--force"))
            .and(contains(
                "default.conf: kept with compose.scale.yaml, which mounts it",
            ))
            // The nginx that it added has the port until then.
            .and(contains("docker compose up -d --remove-orphans")),
    );
    assert_eq!(shop.read("compose.scale.yaml"), changed);
    assert!(!shop.path().join(".env").exists());
    // What is kept works as soon as it is named again, and is known still.
    shop.write(".env", "COMPOSE_FILE=compose.yaml:compose.scale.yaml\n");
    assert_eq!(shop.load().policies["web"].max, 7);
    for path in [
        "compose-scale/conf.d/default.conf",
        "compose-scale/upstreams",
    ] {
        assert!(shop.path().join(path).exists(), "{path}");
    }
    fs::remove_file(shop.path().join(".env")).unwrap();
    shop.init(&["--undo", "--force"]).assert().success();
    assert_eq!(shop.everything(), before);
}

#[test]
fn without_a_terminal_nothing_is_written_unasked() {
    let shop = Shop::new(&[("compose.yaml", ARTICLE)]);
    let before = shop.everything();
    shop.init(&[])
        .assert()
        .code(2)
        .stdout(contains("+++ b/compose.scale.yaml"))
        .stderr(contains("nothing was written: add --yes"));
    assert_eq!(shop.everything(), before);
}

#[test]
fn what_stands_in_the_way_is_one_clear_message() {
    let said = |files: &[(&str, &str)], arguments: &[&str], code: i32, words: &str| {
        let shop = Shop::new(files);
        let before = shop.everything();
        shop.init(arguments)
            .assert()
            .code(code)
            .stderr(contains(words));
        assert_eq!(shop.everything(), before);
    };
    let article = ("compose.yaml", ARTICLE);
    said(&[], &["--yes"], 78, "compose.yaml");
    said(
        &[("compose.yaml", "services: {web: {image: 1, prots: []}}")],
        &["--yes"],
        78,
        "compose.yaml:1",
    );
    said(
        &[article, (".env", "A=b\nCOMPOSE_FILE=\n")],
        &["--yes"],
        78,
        ".env:2: COMPOSE_FILE: it has an entry that is empty",
    );
    said(
        &[article],
        &["--yes", "--service", "wbe"],
        2,
        "no such service: wbe; this project has web, db",
    );
    said(
        &[article],
        &["--yes", "--service", "db"],
        1,
        "its image is postgres",
    );
    said(
        &[article],
        &["--yes", "--nginx", "edge"],
        2,
        "no such service",
    );
    said(
        &[article],
        &["--yes", "--min", "5", "--max", "3"],
        2,
        "the minimum 5 is above the maximum 3",
    );
    said(&[article], &["--yes", "--env-file", "x"], 2, "disable that");
    said(
        &[article],
        &["--yes", "--cpu", "much"],
        2,
        "a share like 60%",
    );
    said(
        &[
            article,
            (
                "compose.scale.yaml",
                "services: {web: {scale: 2, image: a}}\n",
            ),
        ],
        &["--yes"],
        78,
        "only files of plain counts (services.NAME.scale): `services.web.image` is in it",
    );
    said(
        &[article, ("compose-scale/conf.d/default.conf", "mine\n")],
        &["--yes"],
        1,
        "compose-scale/conf.d/default.conf was not written by `init`",
    );
    said(
        &[("compose.yaml", "services: {a: {image: a}, b: {image: b}}")],
        &["--yes"],
        2,
        "--service a or --service b",
    );
    let unknown_port = WITH_NGINX.replace("    expose: [\"8000\"]\n", "");
    said(
        &[("compose.yaml", &unknown_port)],
        &["--yes"],
        2,
        "--port web=PORT",
    );

    let shop = Shop::new(&[article]);
    shop.init(&["--yes"])
        .env("COMPOSE_FILE", "compose.yaml")
        .assert()
        .code(2)
        .stderr(contains("unset it, and name the files with -f"));
    let shop = Shop::new(&[article]);
    shop.init(&["--yes"])
        .env("COMPOSE_PATH_SEPARATOR", ";")
        .assert()
        .code(2)
        .stderr(contains("write it into .env, or unset it"));
    shop.write(".env", "COMPOSE_PATH_SEPARATOR=;\n");
    shop.init(&["--yes"])
        .env("COMPOSE_PATH_SEPARATOR", ";")
        .assert()
        .success();
    assert!(
        shop.read(".env")
            .contains("COMPOSE_FILE=compose.yaml;compose.scale.yaml")
    );
    let shop = Shop::new(&[article]);
    std::os::unix::fs::symlink("/nowhere/env", shop.path().join(".env")).unwrap();
    shop.init(&["--yes"]).assert().code(1).stderr(contains(
        ".env is a link to /nowhere/env, which does not exist",
    ));
    assert!(shop.path().join(".env").is_symlink());
    let shop = Shop::new(&[article]);
    let link = shop.path().join("compose.scale.yaml");
    std::os::unix::fs::symlink("/nowhere/new", &link).unwrap();
    shop.init(&["--yes"]).assert().code(1).stderr(contains(
        "compose.scale.yaml is a link to /nowhere/new, which does not exist: create that file",
    ));
    assert!(link.is_symlink());
    assert!(!shop.path().join(".env").exists());
    let shop = Shop::new(&[article]).compose("2.20.1");
    shop.init(&["--yes"])
        .assert()
        .code(1)
        .stderr(contains("compose here is 2.20.1").and(contains("needs 2.24.4")));
}

/// A project may come from someone else, with links in it.
#[test]
fn in_the_directory_of_init_no_link_is_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    for link in [
        "compose-scale",
        "compose-scale/conf.d",
        "compose-scale/conf.d/default.conf",
        "compose-scale/upstreams",
        "compose-scale/init.json",
    ] {
        for target in ["there", "missing"] {
            let shop = Shop::new(&[("compose.yaml", ARTICLE), ("compose-scale/x", "")]);
            let target = elsewhere.path().join(target);
            fs::create_dir_all(elsewhere.path().join("there")).unwrap();
            let path = shop.path().join(link);
            if link == "compose-scale" {
                fs::remove_dir_all(&path).unwrap();
            }
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&target, &path).unwrap();
            shop.init(&["--yes"])
                .assert()
                .code(1)
                .stderr(contains("it is a symbolic link instead of a "));
            assert!(path.is_symlink(), "{link}");
            let names = fs::read_dir(elsewhere.path()).unwrap().count();
            assert_eq!(names, 1, "{link}");
            let there = elsewhere.path().join("there");
            assert_eq!(fs::read_dir(there).unwrap().count(), 0, "{link}");
            assert!(!shop.path().join(".env").exists());
        }
    }
}

#[test]
fn undo_writes_and_removes_nothing_through_a_link() {
    let elsewhere = tempfile::tempdir().unwrap();
    let kept = elsewhere.path().join("kept");
    files::replace(&kept, b"precious").unwrap();
    let shop = Shop::new(&[("compose.yaml", ARTICLE)]);
    shop.init(&["--yes"]).assert().success();
    let record = shop.read("compose-scale/init.json");
    // As one would have it who gives away a project.
    let hostile = record
        .replace("compose-scale/conf.d/default.conf", "compose-scale/x/kept")
        .replacen(
            "\"version\"",
            "\"replaced\": {\"compose-scale/x/new\": \"hostile\"}, \"version\"",
            1,
        )
        .replacen(
            "\"files\": {",
            "\"files\": {\"compose-scale/x/new\": \"\", ",
            1,
        );
    shop.write("compose-scale/init.json", &hostile);
    std::os::unix::fs::symlink(elsewhere.path(), shop.path().join("compose-scale/x")).unwrap();
    shop.init(&["--undo", "--force"])
        .assert()
        .code(1)
        .stderr(contains("compose-scale/x").and(contains("it is a symbolic link")));
    assert_eq!(fs::read(&kept).unwrap(), b"precious");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_written_leaves_everything_as_it_was() {
    // A file where a directory has to be; permissions mean nothing to root.
    let shop = Shop::new(&[("compose.yaml", ARTICLE), ("compose-scale", "a file\n")]);
    let before = shop.everything();
    shop.init(&["--yes"])
        .assert()
        .code(1)
        .stderr(contains("compose-scale is a file; move it away"));
    assert_eq!(shop.everything(), before);

    // A line of .env that does not do what it seems to: the value of another name goes over lines.
    let shop = Shop::new(&[
        ("compose.yaml", ARTICLE),
        (".env", "A='\nCOMPOSE_FILE=x\n'\n"),
    ]);
    let before = shop.everything();
    shop.init(&["--yes"])
        .assert()
        .code(1)
        .stderr(contains("removed again"));
    assert_eq!(shop.everything(), before);
}

#[test]
fn files_that_are_named_are_the_list_and_a_project_elsewhere_is_found() {
    let shop = Shop::new(&[
        ("base.yml", ARTICLE),
        ("extra.yml", "services: {web: {environment: {A: b}}}\n"),
    ]);
    let before = shop.everything();
    shop.init(&["--yes", "-f", "base.yml", "-f", "extra.yml"])
        .assert()
        .success();
    assert_eq!(
        shop.read(".env"),
        "COMPOSE_FILE=base.yml:extra.yml:compose.scale.yaml\n"
    );
    assert!(shop.load().policies.contains_key("web"));
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.everything(), before);
}

/// What `watch` does to the override.
fn keep_count(shop: &Shop, count: u32) {
    let text = shop.read("compose.scale.yaml");
    let keys = compose_scale::project::CountKeys {
        scale: true,
        replicas: false,
    };
    let kept = compose::edit_count::with_count(&text, "web", keys, count).unwrap();
    shop.write("compose.scale.yaml", &kept);
}

#[test]
fn a_count_that_watch_has_kept_is_no_change_by_hand() {
    let shop = Shop::new(&[("compose.yaml", PLAIN)]);
    shop.init(&["--yes"]).assert().success();
    keep_count(&shop, 5);
    // Another answer leaves the count that runs.
    shop.init(&["--yes", "--max", "8"]).assert().success();
    let text = shop.read("compose.scale.yaml");
    assert!(
        text.contains("scale: 5") && text.contains("max: 8"),
        "{text}"
    );
    keep_count(&shop, 3);
    shop.init(&["--undo"]).assert().success();
    assert!(!shop.path().join("compose.scale.yaml").exists());
    assert!(!shop.path().join("compose-scale").exists());
}

#[test]
fn what_dotenv_still_names_is_not_taken_away() {
    let shop = Shop::new(&[("compose.yaml", PLAIN), ("extra.yaml", "services: {}\n")]);
    shop.init(&["--yes"]).assert().success();
    shop.write(
        ".env",
        "COMPOSE_FILE=compose.yaml:compose.scale.yaml:extra.yaml\n",
    );
    shop.init(&["--undo"])
        .assert()
        .code(1)
        .stderr(contains("nothing is undone"));
    assert!(shop.path().join("compose.scale.yaml").exists());
    shop.write(".env", "COMPOSE_FILE=compose.yaml:extra.yaml\n");
    shop.init(&["--undo"]).assert().success();
    assert!(!shop.path().join("compose.scale.yaml").exists());
    assert_eq!(shop.read(".env"), "COMPOSE_FILE=compose.yaml:extra.yaml\n");
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let shop = Shop::new(&[("compose.yaml", PLAIN)]);
    shop.init(&["--yes"]).assert().success();
    let path = shop.path().join(".env");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"PW=\xff\xfe\n");
    files::replace(&path, &bytes).unwrap();
    shop.init(&["--undo"])
        .assert()
        .code(1)
        .stderr(contains("not UTF-8"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(shop.path().join("compose.scale.yaml").exists());
}

#[test]
fn a_worker_needs_no_nginx_and_no_file_but_the_override() {
    let shop = Shop::new(&[("compose.yaml", "services: {worker: {image: my/worker}}\n")]);
    let before = shop.read("compose.yaml");
    shop.init(&["--yes", "--service", "worker"])
        .assert()
        .success();
    assert!(shop.read("compose.scale.yaml").contains("worker:"));
    shop.init(&["--undo"]).assert().success();
    assert_eq!(shop.read("compose.yaml"), before);
    assert!(!shop.path().join("compose-scale").exists());
}

#[test]
fn a_record_that_came_with_the_project_removes_nothing_of_others() {
    let shop = Shop::new(&[("compose.yaml", PLAIN), ("victim", "mine\n")]);
    let record = format!(
        r#"{{"version":1,"files":{{"{}":"{}"}},"directories":[],"dotenv":null,"nginx":"new","image":"nginx","services":[]}}"#,
        shop.path().join("victim").display(),
        compose_scale::init::manifest::digest(b"mine\n"),
    );
    shop.write("compose-scale/init.json", &record);
    shop.init(&["--undo", "--force"]).assert().failure();
    assert_eq!(shop.read("victim"), "mine\n");
}

#[test]
fn what_speaks_no_http_and_what_is_not_always_there_is_not_put_behind_one_nginx() {
    let shop = Shop::new(&[(
        "compose.yaml",
        "services:\n  git: {image: gitea, ports: [\"2222:22\"]}\n  tls: {image: my/tls, ports: [\"443:8080\"]}\n",
    )]);
    shop.init(&["--yes"])
        .assert()
        .failure()
        .stderr(contains("SSH").and(contains("HTTPS")));
    let shop = Shop::new(&[(
        "compose.yaml",
        "services:\n  web: {image: my/web, ports: [\"8080:80\"]}\n  api: {image: my/api, ports: [\"8081:80\"], profiles: [debug]}\n",
    )]);
    let mut command = shop.init(&["--yes"]);
    command.args(["--profile", "debug"]);
    command.assert().code(2).stderr(contains("profile"));
}
