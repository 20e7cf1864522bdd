use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    policy::{Aim, Balance, Metric, NginxPlacement, Tolerance},
    project::NamedVariables,
    units::{Percent, Span},
};

mod odd;
mod random;

/// A directory with files, and a request from inside it.
struct Dir(TempDir);

impl Dir {
    fn with(files: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("project").unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            #[expect(
                clippy::disallowed_methods,
                reason = "nobody reads a test's files meanwhile"
            )]
            fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn request(&self) -> LoadRequest {
        LoadRequest {
            cwd: self.0.path().to_owned(),
            project_name: Some("shop".into()),
            ..LoadRequest::default()
        }
    }

    fn load(&self) -> Loaded {
        load(&self.request()).unwrap()
    }

    fn error(&self) -> String {
        self.shown(&load(&self.request()).unwrap_err().to_string())
    }

    /// A text without the name of the temporary directory.
    fn shown(&self, text: &str) -> String {
        text.replace(&*self.0.path().to_string_lossy(), "/dir")
    }

    fn warnings(&self) -> String {
        self.shown(&self.load().warnings.join("\n"))
    }
}

fn file(text: &str) -> Dir {
    Dir::with(&[("compose.yaml", text)])
}

fn percent(number: f64) -> Percent {
    Percent::new(number).unwrap()
}

#[test]
fn a_project_is_read_with_its_settings_and_policies() {
    let dir = file(
        "x-autoscale:\n  interval: 2s\n  nginx: {service: edge, upstreams: ./up}\nservices:\n  web:\n    image: app\n    expose: [8080]\n    deploy: {replicas: 3}\n    x-autoscale: {max: 8, metrics: [cpu: 60%]}\n  edge: {image: nginx}\n",
    );
    let loaded = dir.load();
    assert_eq!(loaded.project.name, "shop");
    assert_eq!(loaded.project.services["web"].scale, Some(3));
    assert_eq!(loaded.project.services["web"].only_port(), Ok(8080));
    assert_eq!(loaded.settings.interval, Span::seconds(2));
    assert_eq!(
        loaded.settings.nginx.place,
        Some(NginxPlacement::Service("edge".into()))
    );
    assert_eq!(loaded.policies.keys().collect::<Vec<_>>(), ["web"]);
    assert_eq!(
        loaded.policies["web"].metrics,
        [Metric::Cpu(Aim::Target(percent(60.0)))]
    );
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn every_mistake_has_its_file_line_and_key_and_all_are_reported() {
    let dir = Dir::with(&[
        (
            "compose.yaml",
            "x-autoscale:\n  intervall: 5s\n  nginx:\n    reload: systemctl reload nginx\nservices:\n  web:\n    imag: app\n    image: app\n    ports:\n      - \"80:\"\n      - target: eighty\n    stop_grace_period: 30\n    x-autoscale:\n      min: 4\n      metrics:\n        - cpu: \"60\"\n        - requests: 5\n  db:\n    image: db\n    networks: [back]\n",
        ),
        (
            "compose.override.yaml",
            "services:\n  web:\n    x-autoscale:\n      max: 2\n      metrics:\n        - memory: 80\n",
        ),
    ]);
    insta::assert_snapshot!(dir.error(), @r#"
    compose.yaml:2: x-autoscale.intervall: unknown key; did you mean `interval`? allowed are interval, nginx, host, notify, min, max, metrics, priority, schedule, tolerance, initialization_period, behavior, ready, ready_timeout, min_ready, slow_start, drain, balance
    compose.yaml:4: x-autoscale.nginx.reload: found a text, expected builtin or a list like ["systemctl", "reload", "nginx"]; it is run without a shell
    compose.yaml:7: services.web.imag: unknown key; did you mean `image`?
    compose.yaml:10: services.web.ports[0]: found "80:", expected a container port after the colon
    compose.yaml:11: services.web.ports[1].target: found "eighty", expected a whole number of at least 0
    compose.yaml:12: services.web.stop_grace_period: found 30, expected a duration with its unit, like 30s or 1m30s
    compose.yaml:14: services.web.x-autoscale.min: found `4`, expected no more than `max`, which is 2
    compose.yaml:16: services.web.x-autoscale.metrics[0].cpu: found `60`, expected a percentage like 60%
    compose.yaml:20: services.db.networks.back: refers to undefined network back
    compose.override.yaml:6: services.web.x-autoscale.metrics[2].memory: found `80` (a number), expected a percentage like 60%
    "#);
}

#[test]
fn defaults_of_the_project_fill_in_what_a_service_leaves_out() {
    let dir = file(
        "x-autoscale:\n  max: 4\n  metrics: [memory: 70%]\n  balance: ip_hash\n  ready: {tcp: 1}\n  behavior: {scale_down: {stabilization_window: 1m, select: min}}\n  tolerance: {up: 0.3}\nservices:\n  own:\n    image: x\n    x-autoscale:\n      metrics: [cpu: 50%]\n      ready: {http: /}\n      behavior: {scale_down: {select: max}}\n      tolerance: {down: 0.2}\n  plain: {image: x, x-autoscale: }\n  none: {image: x}\n",
    );
    let policies = dir.load().policies;
    assert_eq!(policies.keys().collect::<Vec<_>>(), ["own", "plain"]);
    let shown = |name: &str| {
        let policy = serde_json::to_value(&policies[name]).unwrap();
        json!([
            policy["max"],
            policy["metrics"],
            policy["balance"],
            policy["ready"],
            policy["behavior"]["scale_down"]["stabilization_window"],
            policy["behavior"]["scale_down"]["select"],
            policy["tolerance"],
        ])
    };
    assert_eq!(
        shown("own"),
        json!([4, [{"cpu": "50%"}], "ip_hash", {"http": "/"}, "1m", "max", {"up": 0.3, "down": 0.2}])
    );
    assert_eq!(
        shown("plain"),
        json!([4, [{"memory": "70%"}], "ip_hash", {"tcp": 1}, "1m", "min", {"up": 0.3, "down": 0.1}])
    );
}

#[test]
fn a_mistake_in_a_default_is_reported_once_and_where_it_is() {
    let dir = file(
        "x-autoscale:\n  min: 5\n  metrics: [cpu: 50]\nservices:\n  a: {image: x, x-autoscale: {max: 3}}\n  b: {image: x, x-autoscale: {max: 6}}\n  c: {image: x, x-autoscale: }\n",
    );
    insta::assert_snapshot!(dir.error(), @r"
    compose.yaml:2: x-autoscale.min: found `5`, expected no more than `max`, which is 3
    compose.yaml:3: x-autoscale.metrics[0].cpu: found `50` (a number), expected a percentage like 60%
    compose.yaml:7: services.c.x-autoscale: `max` is missing, expected a whole number from 1 to 1000
    ");
}

#[test]
fn variables_may_give_the_numbers_of_a_policy() {
    let dir = Dir::with(&[
        (
            "compose.yaml",
            "services:\n  web:\n    image: x\n    x-autoscale: {max: \"${MAX}\", port: $PORT, tolerance: '${T:-0.2}', metrics: [cpu: \"${CPU:-60%}\"]}\n",
        ),
        (".env", "MAX=7\nPORT=8080\n"),
    ]);
    let policy = &dir.load().policies["web"];
    assert_eq!((policy.max, policy.port), (7, Some(8080)));
    assert_eq!(policy.tolerance, Tolerance { up: 0.2, down: 0.2 });
}

#[test]
fn a_hash_key_keeps_the_variables_of_nginx_and_one_without_is_refused() {
    let of = |key: &str| {
        Dir::with(&[
            (
                "compose.yaml",
                &format!(
                    "services:\n  web:\n    image: x\n    x-autoscale:\n      max: 2\n      balance: {{hash: {key}}}\n"
                ),
            ),
            (
                ".env",
                "HASH_KEY=$$remote_addr\nrequest_uri=no\nCONSTANT=all\n",
            ),
        ])
    };
    for (key, expected) in [
        ("$request_uri", "$request_uri"),
        ("$$request_uri", "$request_uri"),
        ("\"$remote_addr-$http_x\"", "$remote_addr-$http_x"),
        ("\"${remote_addr}\"", "${remote_addr}"),
        ("$HASH_KEY", "$remote_addr"),
    ] {
        let loaded = of(key).load();
        let balance = &loaded.policies["web"].balance;
        assert_eq!(*balance, Balance::Hash(expected.into()), "{key}");
    }
    for key in ["$CONSTANT", "web", "\"-\""] {
        let error = of(key).error();
        let told = "compose.yaml:6: services.web.x-autoscale.balance.hash: found `";
        assert!(error.starts_with(told), "{error}");
        assert!(error.contains("like $$request_uri: without one"), "{error}");
    }
}

#[test]
fn mistakes_behind_an_anchor_or_extends_point_to_where_they_were_written() {
    let dir = Dir::with(&[
        (
            "compose.yaml",
            "x-policy: &policy\n  max: 0\nservices:\n  a:\n    image: x\n    x-autoscale: *policy\n  b:\n    image: x\n    x-autoscale:\n      <<: *policy\n      min: x\n  c:\n    extends: {file: base/base.yaml, service: base}\n",
        ),
        (
            "base/base.yaml",
            "services:\n  base:\n    image: x\n    x-autoscale:\n      max: -1\n",
        ),
    ]);
    insta::assert_snapshot!(dir.error(), @r"
    compose.yaml:2: services.a.x-autoscale.max: found `0` (a number), expected a whole number from 1 to 1000
    compose.yaml:11: services.b.x-autoscale.min: found `x` (a text), expected a whole number from 1 to 1000
    base/base.yaml:5: services.c.x-autoscale.max: found `-1` (a number), expected a whole number from 1 to 1000
    ");
}

#[test]
fn mistakes_of_text_and_template_have_a_line() {
    insta::assert_snapshot!(file("services:\n  web: image: x\n").error(), @"compose.yaml:2: not valid YAML: mapping values are not allowed in this context");
    insta::assert_snapshot!(file("services:\n  web:\n    image: ${TAG:?set it}\n    labels: [\"${\"]\n").error(), @r#"
    compose.yaml:3: services.web.image: required variable TAG is missing a value: set it
    compose.yaml:4: services.web.labels[0]: invalid interpolation format in "${"; to mean a literal $, write $$
    "#);
    insta::assert_snapshot!(file("- a\n").error(), @"compose.yaml:1: found a list, expected a map at the top");
    insta::assert_snapshot!(file("services:\n  web: {image: x}\n  web: {image: y}\n").error(), @"compose.yaml:3: services.web: key is already defined at line 2");
    let dir = Dir::with(&[("compose.yaml", "services: {}"), (".env", "A=1\nB C=2\n")]);
    insta::assert_snapshot!(dir.error(), @r#".env:2: the name "B C" contains a space"#);
}

#[test]
fn relations_that_do_not_hold_have_a_line() {
    let dir = file(
        "services:\n  a:\n    command: x\n    depends_on:\n      - b\n      - zz\n  b:\n    image: x\n    depends_on: [a]\n    volumes:\n      - data:/data\n    configs: [c]\n    secrets:\n      - s\n    scale: 2\n    container_name: fixed\n    network_mode: host\n    networks: [n]\n",
    );
    insta::assert_snapshot!(dir.error(), @"
    compose.yaml:2: services.a: has neither an image nor a build context specified; add `image` or `build`
    compose.yaml:4: services.a.depends_on: dependency cycle detected: a -> b -> a
    compose.yaml:6: services.a.depends_on.zz: depends on undefined service zz
    compose.yaml:11: services.b.volumes[0]: refers to undefined volume data
    compose.yaml:12: services.b.configs[0]: refers to undefined config c
    compose.yaml:14: services.b.secrets[0]: refers to undefined secret s
    compose.yaml:16: services.b.container_name: can't be set together with more than one replica: a container name must be unique
    compose.yaml:17: services.b.network_mode: declares mutually exclusive `network_mode` and `networks`
    compose.yaml:18: services.b.networks.n: refers to undefined network n
    ");
}

#[test]
fn what_must_be_there_once_has_a_line() {
    let dir = file(
        "services:\n  a:\n    image: x\n    container_name: one\n    ports:\n      - target: 80\n        host_ip: local\n  b:\n    image: x\n    container_name: one\nconfigs:\n  none: {}\n  two: {file: x, content: \"y\"}\n  elsewhere: {external: true}\nsecrets:\n  none: {name: x}\n",
    );
    insta::assert_snapshot!(dir.error(), @r#"
    compose.yaml:7: services.a.ports[0].host_ip: found "local", expected an IP address
    compose.yaml:10: services.b.container_name: container name "one" is already in use by service a
    compose.yaml:12: configs.none: one of file, environment, content must be set
    compose.yaml:13: configs.two: file, environment, content are mutually exclusive
    compose.yaml:16: secrets.none: one of file, environment must be set
    "#);
}

#[test]
fn the_tags_of_a_service_act_on_what_it_extends_and_on_earlier_files() {
    let dir = Dir::with(&[
        (
            "compose.yaml",
            "services:\n  web: {image: x, expose: [1]}\n  other: {image: x, expose: [1]}\n",
        ),
        (
            "compose.override.yaml",
            "services:\n  web: {extends: {file: base.yaml, service: base}, expose: !override [4]}\n  other: {extends: {file: base.yaml, service: base}}\n",
        ),
        (
            "base.yaml",
            "services:\n  root: {image: x, expose: [2]}\n  base: {extends: root, expose: !override [3]}\n",
        ),
    ]);
    let services = dir.load().project.services;
    assert_eq!(services["web"].expose, ["4"]);
    assert_eq!(services["other"].expose, ["1", "3"]);
}

#[test]
fn a_directory_without_a_file_says_what_was_looked_for() {
    let dir = Dir::with(&[("sub/other.yaml", "")]);
    let mut request = dir.request();
    request.cwd.push("sub");
    let error = load(&request).unwrap_err();
    assert!(error.is_not_found());
    insta::assert_snapshot!(dir.shown(&error.to_string()), @"no compose file found: looked for compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml in /dir/sub and its parent directories");
    request.files = vec!["gone.yaml".into()];
    let error = load(&request).unwrap_err();
    assert!(!error.is_not_found());
    insta::assert_snapshot!(dir.shown(&error.to_string()), @"cannot read /dir/sub/gone.yaml: No such file or directory (os error 2)");
}

#[test]
fn the_file_is_looked_for_in_the_directory_that_the_command_names() {
    let dir = Dir::with(&[
        ("compose.yaml", "services: {other: {image: x}}"),
        ("shop/compose.yaml", "services: {web: {image: x}}"),
        ("empty/.env", ""),
    ]);
    for cwd in ["", "empty"] {
        let mut request = dir.request();
        request.cwd.push(cwd);
        request.project_directory = Some(dir.0.path().join("shop"));
        request.project_name = None;
        let loaded = load(&request).unwrap();
        assert_eq!(loaded.project.name, "shop");
        assert!(loaded.project.services.contains_key("web"), "{cwd}");
    }
}

#[test]
fn the_working_directory_is_a_variable_whatever_the_environment_lacks() {
    let dir = Dir::with(&[
        ("compose.yaml", "services: {web: {image: \"${PWD}\"}}"),
        (".env", "PWD=/elsewhere"),
    ]);
    let image = |request: &LoadRequest| {
        let loaded = load(request).unwrap();
        assert_eq!(loaded.warnings, [""; 0]);
        loaded.project.services["web"].image.clone().unwrap()
    };
    let mut request = dir.request();
    assert_eq!(dir.shown(&image(&request)), "/dir");
    request.env.insert("PWD".into(), "/set".into());
    assert_eq!(image(&request), "/set");
}

#[test]
fn the_file_is_found_from_below_with_its_override() {
    let dir = Dir::with(&[
        ("docker-compose.yml", "services: {web: {image: x}}"),
        ("compose.override.yaml", "services: {web: {image: y}}"),
        ("sub/.env", "FROM=sub"),
        (".env", "FROM=top\nTOP=1"),
    ]);
    let mut request = dir.request();
    request.cwd.push("sub");
    request.project_name = None;
    let loaded = load(&request).unwrap();
    assert_eq!(loaded.project.working_dir, dir.0.path());
    assert_eq!(loaded.project.services["web"].image.as_deref(), Some("y"));
    let watched: Vec<_> = loaded
        .watched
        .iter()
        .map(|path| dir.shown(&path.to_string_lossy()))
        .collect();
    insta::assert_snapshot!(watched.join("\n"), @r"
    /dir/docker-compose.yml
    /dir/compose.override.yaml
    /dir/sub/.env
    /dir/compose.yaml
    /dir/compose.yml
    /dir/docker-compose.yaml
    /dir/compose.override.yml
    /dir/docker-compose.override.yml
    /dir/docker-compose.override.yaml
    /dir/.env
    ");
}

#[test]
fn what_is_odd_is_told_once() {
    let dir = Dir::with(&[
        (
            "compose.yaml",
            "version: '3'\nservices:\n  web: {image: \"x:$TAG-$TAG\", init: yes, healthcheck: {disable: on}}\n  db: {image: \"${TAG}\"}\n  c: {image: x, healthcheck: {disable: on}}\n",
        ),
        ("compose.yml", "services: {}"),
        ("docker-compose.override.yml", "services: {db: {image: db}}"),
        ("docker-compose.override.yaml", ""),
    ]);
    insta::assert_snapshot!(dir.warnings(), @r#"
    found several compose files: /dir/compose.yaml, /dir/compose.yml; using /dir/compose.yaml
    found several override files: /dir/docker-compose.override.yml, /dir/docker-compose.override.yaml; using /dir/docker-compose.override.yml
    the variable TAG is not set; an empty text is used
    compose.yaml: `version` is obsolete and has no effect
    "on" for a boolean is not YAML 1.2: write true
    "#);
}

#[test]
fn names_come_from_flag_environment_file_and_directory_in_that_order() {
    let dir = file("name: From.File\nservices: {}\n");
    let named = |request: &LoadRequest| load(request).map(|loaded| loaded.project.name);
    let mut request = dir.request();
    assert_eq!(named(&request).unwrap(), "shop");
    request.project_name = None;
    assert_eq!(named(&request).unwrap(), "fromfile");
    request
        .env
        .insert("COMPOSE_PROJECT_NAME".into(), "env".into());
    assert_eq!(named(&request).unwrap(), "env");
    request.project_name = Some("Not Normal".into());
    insta::assert_snapshot!(named(&request).unwrap_err(), @r#"--project-name: found "Not Normal", expected only lower case letters, digits, - and _, starting with a letter or a digit"#);
}

#[test]
fn the_env_file_can_be_switched_off() {
    let dir = Dir::with(&[
        ("compose.yaml", "services: {web: {image: \"${A:-none}\"}}"),
        (".env", "A=env"),
    ]);
    let image =
        |request: &LoadRequest| load(request).map(|l| l.project.services["web"].image.clone());
    let mut request = dir.request();
    assert_eq!(image(&request).unwrap().as_deref(), Some("env"));
    let off = "COMPOSE_DISABLE_ENV_FILE".to_owned();
    request.env.insert(off.clone(), "1".into());
    assert_eq!(image(&request).unwrap().as_deref(), Some("none"));
    request.env.insert(off, "maybe".into());
    insta::assert_snapshot!(image(&request).unwrap_err(), @r#"COMPOSE_DISABLE_ENV_FILE: found "maybe", expected true or false"#);
    let mut request = dir.request();
    request.env_files = vec!["gone.env".into()];
    insta::assert_snapshot!(dir.shown(&image(&request).unwrap_err().to_string()), @"cannot read /dir/gone.env: No such file or directory (os error 2)");
}

#[test]
fn standard_input_is_a_file_named_dash() {
    let dir = Dir::with(&[]);
    let mut request = dir.request();
    request.files = vec!["-".into()];
    request.stdin = Some("services: {web: {image: x, scale: a}}".into());
    insta::assert_snapshot!(load(&request).unwrap_err(), @r#"standard input:1: services.web.scale: found "a", expected a whole number of at least 0"#);
    request.stdin = None;
    insta::assert_snapshot!(load(&request).unwrap_err(), @"the compose file - is standard input, which is empty");
}

#[test]
fn a_service_that_is_named_is_on_whatever_its_profile() {
    let dir =
        file("services: {web: {image: x, profiles: [p], x-autoscale: {max: 2}}, db: {image: x}}");
    let loaded = dir.load();
    assert_eq!(loaded.project.disabled_services, ["web"]);
    assert!(loaded.policies.is_empty());
    let mut request = dir.request();
    request.named_services = vec!["web".into()];
    let loaded = load(&request).unwrap();
    assert_eq!(loaded.project.disabled_services, Vec::<String>::new());
    assert_eq!(loaded.policies.len(), 1);
}

#[test]
fn includes_and_extends_that_go_wrong_say_where() {
    let dir = Dir::with(&[
        (
            "compose.yaml",
            "include:\n  - sub/a.yaml\n  - {path: compose.yaml}\nservices:\n  a: {image: other}\n  b: {extends: nobody}\n  c: {extends: c}\n  d: {extends: {file: sub/a.yaml, service: nobody}}\n",
        ),
        ("sub/a.yaml", "services: {a: {image: x}}"),
    ]);
    insta::assert_snapshot!(dir.error(), @r#"
    compose.yaml:2: include[0]: services.a is defined here and in the included file; take one away, or change the included one by a second path in its `path`
    compose.yaml:3: include[1]: /dir/compose.yaml includes itself
    compose.yaml:6: services.b.extends: service "nobody" is not in this file
    compose.yaml:7: services.c.extends: extends itself: c -> c
    compose.yaml:8: services.d.extends: service "nobody" is not in /dir/sub/a.yaml
    "#);
}

#[test]
fn the_rendered_project_is_the_same_every_time() {
    let dir = file(
        "services:\n  web:\n    image: x\n    ports: [\"8080:80\"]\n    healthcheck: {test: curl x, interval: 1.5s}\n    labels: {b: 1, a: 2}\n    volumes: [\"/anon\"]\n    mem_limit: 64m\n    x-autoscale: {max: 3}\n",
    );
    let loaded = dir.load();
    assert_eq!(render::to_yaml(&loaded), render::to_yaml(&dir.load()));
    assert_eq!(
        serde_yaml::from_str::<serde_json::Value>(&render::to_yaml(&loaded)).unwrap(),
        render::to_json(&loaded)
    );
    insta::assert_snapshot!(dir.shown(&render::to_yaml(&loaded)), @r"
    version: 1
    name: shop
    working_dir: /dir
    config_files:
    - /dir/compose.yaml
    services:
      web:
        name: web
        image: x
        build: false
        container_name: null
        scale: null
        ports:
        - target: 80
          published: '8080'
          host_ip: null
          protocol: tcp
          mode: ingress
          name: null
          app_protocol: null
        expose: []
        healthcheck:
          test:
          - CMD-SHELL
          - curl x
          interval: 1.5s
          timeout: null
          retries: null
          start_period: null
          start_interval: null
        network_mode: null
        networks:
          default:
            name: shop_default
            aliases: []
            static_address: false
            priority: 0
        volumes:
        - type: volume
          source: null
          target: /anon
          read_only: false
        depends_on: {}
        profiles: []
        stop_signal: null
        stop_grace_period: null
        post_start: []
        pre_stop: []
        limits:
          cpus: null
          memory: '67108864'
        uploads: []
        mac_address: false
        labels:
          a: '2'
          b: '1'
        policy:
          min: 1
          max: 3
          metrics:
          - cpu: 80%
          priority: 0
          schedule: []
          tolerance:
            up: 0.1
            down: 0.1
          initialization_period: 30s
          behavior:
            scale_up:
              stabilization_window: 0s
              policies:
              - percent: 100.0
                per: 15s
              - replicas: 4
                per: 15s
              select: max
            scale_down:
              stabilization_window: 5m
              policies:
              - percent: 100.0
                per: 15s
              select: max
          ready: auto
          ready_timeout: 1m
          min_ready: 0s
          drain:
            timeout: 30s
          balance: least_conn
    disabled_services: []
    settings:
      interval: 5s
      nginx: {}
      host:
        reserve_memory: 10%
        reserve_cpu: 5%
    ");
}

#[test]
fn a_command_is_run_in_a_service_of_the_project() {
    let dir = file(
        "x-autoscale:\n  metrics:\n    - custom: {name: a, command: {argv: [a], service: redsi}, average_target: 1}\nservices:\n  web:\n    image: x\n    x-autoscale: {max: 2}\n  worker:\n    image: x\n    x-autoscale:\n      max: 2\n      metrics:\n        - cpu: 50%\n        - custom:\n            name: jobs\n            average_target: 1\n            command:\n              argv: [redis-cli, llen, jobs]\n              service: cache\n        - custom: {name: b, command: {argv: [b], service: redis}, service_target: 1}\n  redis: {image: redis, profiles: [queue]}\n",
    );
    insta::assert_snapshot!(dir.error(), @r"
    compose.yaml:3: x-autoscale.metrics[0].custom.command.service: found `redsi`, expected a service of the project: web, worker, redis
    compose.yaml:19: services.worker.x-autoscale.metrics[1].custom.command.service: found `cache`, expected a service of the project: web, worker, redis
    ");
}

#[test]
fn the_variables_that_a_service_is_made_of_are_its_own() {
    let dir = Dir::with(&[
        (
            "compose.yaml",
            "include: [more.yaml]
services:
  web:
    image: app:${TAG}
    environment: {MODE: \"${MODE:-fast}\", HANDED: }
    deploy: {replicas: \"${COUNT:-1}\"}
    x-autoscale: {max: \"${MAX:-4}\"}
  other:
    extends: {file: base.yaml, service: base}
    command: [run, \"$FLAG\", \"$$NOT\", \"${COMPOSE_PROJECT_NAME}\"]
    build: ${CONTEXT}
  filed: {image: app, env_file: app.env}
  plain: {image: app}
",
        ),
        (
            "base.yaml",
            "services:\n  base:\n    image: $BASE\n    user: $GONE_IN_OTHER\n",
        ),
        (
            "more.yaml",
            "services:\n  included:\n    image: ${INCLUDED:-app}\n",
        ),
        (
            "compose.override.yaml",
            "services:\n  other:\n    user: root\n",
        ),
        ("app.env", "A=${FROM_FILE:-1}\nB=$NOWHERE\nNAMED\n"),
    ]);
    let mut request = dir.request();
    request.env = [("TAG", "1"), ("FLAG", "1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let loaded = load(&request).unwrap();
    let told: Vec<_> = loaded
        .project
        .services
        .values()
        .map(|one| {
            let words = |names: &std::collections::BTreeSet<String>| {
                names.iter().cloned().collect::<Vec<_>>().join(" ")
            };
            let NamedVariables { used, unset } = &one.variables;
            format!("{}: {}; unset: {}", one.name, words(used), words(unset))
        })
        .collect();
    assert_eq!(
        told,
        [
            "web: HANDED MODE TAG; unset: HANDED",
            "other: BASE FLAG; unset: BASE",
            "filed: FROM_FILE NAMED NOWHERE; unset: NAMED NOWHERE",
            "plain: ; unset: ",
            "included: INCLUDED; unset: ",
        ]
    );

    // What a variable of `.env` is made of may be anybody's.
    let dir = Dir::with(&[
        (
            "compose.yaml",
            "services:\n  web: {image: \"app:$TAG\"}\n  plain: {image: app}\n",
        ),
        (".env", "TAG=$OUTER\n"),
    ]);
    let services = dir.load().project.services;
    assert!(services["web"].variables.unset.contains("OUTER"));
    assert_eq!(services["plain"].variables, NamedVariables::default());
}

#[test]
fn what_is_to_be_typed_has_the_flags_that_were_given() {
    let mut request = LoadRequest {
        files: vec!["a.yaml".into(), "my b.yaml".into()],
        project_name: Some("shop".into()),
        env_files: vec!["prod.env".into()],
        profiles: vec!["debug".into()],
        ..LoadRequest::default()
    };
    let flags = "-f a.yaml -f 'my b.yaml' -p shop --env-file prod.env --profile debug";
    assert_eq!(request.flags(), flags);
    let command = "docker compose up -d web";
    let typed = format!("docker compose {flags} up -d web");
    assert_eq!(super::typed(flags, command), typed);
    // What has them already is not given them again.
    assert_eq!(super::typed(flags, &typed), typed);
    request = LoadRequest::default();
    assert_eq!(super::typed(&request.flags(), command), command);
}
