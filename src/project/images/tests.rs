//! The list against public images.

use super::*;

/// Names of public images, with what each is: `data`, `proxy`, `nginx` or `app`; with `?` where only a part
/// of the name tells.
const PUBLIC: &str = include_str!("public.txt");

#[test]
fn public_images_are_known_for_what_they_are() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in PUBLIC.lines() {
        let mut words = line.split_whitespace();
        let Some(expected) = words.next().filter(|word| *word != "#") else {
            continue;
        };
        for image in words {
            count += 1;
            let found = known(image).map_or_else(
                || "app".to_owned(),
                |known| {
                    let kind = format!("{:?}", known.kind).to_lowercase();
                    kind + if known.is_certain { "" } else { "?" }
                },
            );
            if found != expected {
                wrong.push(format!("{image}: {found}, not {expected}"));
            }
        }
    }
    assert!(count > 300, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_registry_a_tag_and_a_digest_are_no_part_of_the_name() {
    for image in [
        "redis",
        "docker.io/library/redis:7-alpine",
        "registry.example.com:5000/mirror/redis@sha256:0123",
        "public.ecr.aws/docker/library/redis:7@sha256:0123",
    ] {
        assert!(
            known(image).is_some_and(|one| one.is_certain && one.word == "redis"),
            "{image}"
        );
    }
    // A folder of that name says nothing.
    assert_eq!(known("registry.example.com/redis/shop:1"), None);
}
