//! Which web server passes requests on, and which is the site.

use predicates::{prelude::PredicateBooleanExt as _, str::contains};

use super::shop::Shop;

#[test]
fn a_proxy_that_is_built_is_used_and_not_scaled() {
    let yaml = "services:\n  proxy:\n    build: proxy\n    ports: [\"80:80\"]\n  api:\n    image: example/api:1\n    \
                expose: [\"8000\"]\n";
    let site = "server { listen 80;\n  location / { proxy_pass http://api:8000; }\n}\n";
    let dockerfile = "FROM nginx:1.27\nCOPY site.conf /etc/nginx/conf.d/default.conf\n";
    let shop = Shop::new(&[("compose.yaml", yaml)]);
    shop.write("proxy/site.conf", site);
    shop.write("proxy/Dockerfile", dockerfile);
    let said = shop.said(&["--yes"]);
    assert!(
        said.contains("proxy: cannot be scaled: it is nginx"),
        "{said}"
    );
    let loaded = shop.load();
    assert!(loaded.policies.contains_key("api") && !loaded.policies.contains_key("proxy"));
    assert_eq!(loaded.project.services["proxy"].ports.len(), 1);

    // The same image around a site of its own.
    let yaml =
        "services:\n  front:\n    build: {context: ., target: run}\n    ports: [\"80:80\"]\n";
    let stages = "FROM node:20 AS build\nFROM nginx:1.27 AS run\nCOPY --from=build /app /usr/share/nginx/html\n";
    let shop = Shop::new(&[("compose.yaml", yaml), ("Dockerfile", stages)]);
    let said = shop.said(&["--yes"]);
    assert!(said.contains("front: can be scaled"), "{said}");
}

#[test]
fn a_web_server_that_is_the_site_can_be_scaled() {
    for image in ["nginx:1.27", "httpd:2.4", "caddy:2"] {
        let yaml = format!("services:\n  site:\n    image: {image}\n    ports: [\"8080:80\"]\n");
        let shop = Shop::new(&[("compose.yaml", &yaml)]);
        let said = shop.said(&["--yes"]);
        assert!(said.contains("site: can be scaled"), "{image}: {said}");
        let loaded = shop.load();
        assert!(loaded.project.services["site"].ports.is_empty());
        assert_eq!(loaded.project.services["nginx"].ports.len(), 1);
    }
    // Beside an app that has a port of its own.
    let yaml = "services:\n  web:\n    image: example/web:1\n    ports: [\"8080:8000\"]\n  docs:\n    image: nginx:1.27\n    \
                ports: [\"8081:80\"]\n    volumes: [\"./html:/usr/share/nginx/html:ro\"]\n";
    let shop = Shop::new(&[("compose.yaml", yaml)]);
    shop.said(&["--yes"]);
    let loaded = shop.load();
    assert!(loaded.policies.contains_key("web") && loaded.policies.contains_key("docs"));
    assert_eq!(loaded.project.services["nginx"].ports.len(), 2);
}

#[test]
fn what_keeps_data_or_passes_requests_on_is_not_taken_unasked() {
    let yaml = "services:\n  zk:\n    image: confluentinc/cp-zookeeper:7.6.1\n    ports: [\"2181:2181\"]\n  panda:\n    \
                image: redpandadata/redpanda:v24\n    ports: [\"8082:8082\"]\n  npm:\n    \
                image: jc21/nginx-proxy-manager:2\n    ports: [\"81:81\"]\n  vec:\n    \
                image: semitechnologies/weaviate:1\n    ports: [\"8080:8080\"]\n  built:\n    \
                build: {context: ., dockerfile_inline: \"FROM postgres:16\"}\n    ports: [\"5432:5432\"]\n";
    let shop = Shop::new(&[("compose.yaml", yaml)]);
    shop.init(&["--yes"]).assert().code(2).stderr(
        contains("zk: not selected: its image is cp-zookeeper")
            .and(contains("panda: cannot be scaled: its image is redpanda"))
            .and(contains(
                "npm: cannot be scaled: its image is nginx-proxy-manager",
            ))
            .and(contains("vec: cannot be scaled: its image is weaviate"))
            .and(contains("built: cannot be scaled: its image is postgres")),
    );
}
