//! What is left to do by hand when everything is written.

use super::{InitSite, say};
use crate::{
    cli::working_directory,
    compose,
    init::{InitDraft, manifest::IngressMode},
    policy::NginxPlacement,
};

/// Says what to write into an nginx that is somebody's own, and what to type.
pub(super) fn tell(site: &InitSite, door: &IngressMode, draft: &InitDraft) {
    let by_hand = !draft.by_hand.is_empty();
    if by_hand {
        say("\nadd to nginx's own configuration:");
        for line in &draft.by_hand {
            say(&format!("  {}", line.replace('\n', "\n  ")));
        }
        say("\nnext, after adding those lines:");
    } else {
        say("\nnext:");
    }
    let directory = &site.places.directory;
    if !working_directory().is_ok_and(|cwd| cwd == *directory) {
        say(&format!(
            "  cd {}    # COMPOSE_FILE in .env applies only there",
            directory.display()
        ));
    }
    let up = "docker compose up -d".to_owned();
    let mut commands = match reload(site, door).filter(|_| by_hand) {
        None => vec![up],
        // With what was written for it, it can read the lines at once.
        Some(reload) if *door == IngressMode::Host && !draft.upstreams.is_empty() => {
            vec![reload, up]
        }
        Some(reload) if matches!(door, IngressMode::Service(_)) => vec![up, reload],
        Some(reload) => vec![up, "compose-scale sync".into(), reload],
    };
    commands.extend(["compose-scale check".into(), "compose-scale watch".into()]);
    for command in commands {
        say(&format!("  {}", for_project(site, &command)));
    }
    let undo = for_project(site, "compose-scale init --undo");
    say(&format!("to undo everything: {undo}"));
}

/// With the project's name, where it was given. Its files are found by `.env` from now on.
fn for_project(site: &InitSite, command: &str) -> String {
    let mut words = site.base.flags.split(' ').skip_while(|word| *word != "-p");
    let Some(name) = words.nth(1) else {
        return command.to_owned();
    };
    let named = compose::typed(&format!("-p {name}"), command);
    match named.strip_prefix("compose-scale ") {
        Some(rest) => format!("compose-scale -p {name} {rest}"),
        None => named,
    }
}

/// How to make nginx read its configuration.
fn reload(site: &InitSite, door: &IngressMode) -> Option<String> {
    let in_container = |how: &str, name: &str| {
        let nginx = format!("docker {how} {name} nginx");
        format!("{nginx} -t && {nginx} -s reload")
    };
    match door {
        IngressMode::New => None,
        IngressMode::Service(name) => Some(in_container("compose exec", name)),
        IngressMode::Host => Some("sudo nginx -t && sudo nginx -s reload".into()),
        IngressMode::Elsewhere => match &site.base.settings.nginx.place {
            Some(NginxPlacement::Container(name)) => Some(in_container("exec", name)),
            _ => None,
        },
    }
}
