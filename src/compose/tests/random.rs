//! Whatever is written, reading it ends with a project or with mistakes.

use proptest::prelude::*;

use crate::compose::{LoadRequest, dotenv, interpolate, load, ports, render, text_parsers};

/// Lines out of which something like a compose file is made.
const LINES: [&str; 28] = [
    "services:",
    "  web:",
    "    image: x",
    "    ports: [\"80:80\", 81]",
    "    ports:",
    "      - 80",
    "    scale: ${N:-2}",
    "    x-autoscale: {max: 3}",
    "    x-autoscale:",
    "      max: 0",
    "      metrics: [cpu: 60%, x]",
    "x-autoscale: [1]",
    "    <<: *a",
    "  db: &a {image: y}",
    "    networks: [n]",
    "networks: {n: {external: true}}",
    "    volumes: [a:/b, {type: c}]",
    "    labels: {a: !reset 1}",
    "    healthcheck: {test: [], retries: -1}",
    "---",
    "include: [x]",
    "    extends: db",
    "    depends_on: {web: }",
    "    deploy: {replicas: 99999999999}",
    "    expose: [1-0, {}]",
    "    pre_stop: [{command: \"a 'b\"}]",
    "    secrets: [1, {source: x}]",
    "    mem_limit: 1e400",
];

proptest! {
    #[test]
    fn no_text_makes_loading_panic(
        lines in prop::collection::vec(prop::sample::select(&LINES[..]), 0..12),
        noise in "[a-z:{}\\[\\]!&*<\"'#$ \n-]{0,20}",
        at in 0..12_usize,
    ) {
        let mut lines = lines;
        lines.insert(at.min(lines.len()), &noise);
        let request = LoadRequest {
            files: vec!["-".into()],
            cwd: "/nowhere".into(),
            project_name: Some("p".into()),
            stdin: Some(lines.join("\n")),
            ..LoadRequest::default()
        };
        match load(&request) {
            Ok(loaded) => prop_assert!(!render::to_yaml(&loaded).is_empty()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn no_variable_file_or_template_makes_reading_panic(text in "[A-C=:'\"\\\\$\\{\\}?+#\\- \n]{0,40}") {
        let none = interpolate::VariableMap::new();
        let mut unset = std::collections::BTreeSet::new();
        let _ = interpolate::substitute(&text, &none, &mut unset);
        let _ = dotenv::parse(&text, &none, &none, &mut unset);
        let _ = ports::parse(&text);
        let _ = text_parsers::split(&text);
        let _ = text_parsers::duration(&text);
    }
}
