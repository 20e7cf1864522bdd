//! The examples of each command and its page in the documentation, for `--help` and the manual pages.

use std::fmt::Write as _;

/// What `--help` shows below the options of a command.
#[derive(Debug)]
pub(super) struct More {
    /// The words after `compose-scale`; empty for the program itself.
    command: &'static str,
    /// The page of the documentation.
    pub page: &'static str,
    /// Command lines, each with a comment.
    pub examples: &'static [(&'static str, &'static str)],
}

/// The entry of a command.
pub(super) fn of(command: &str) -> Option<&'static More> {
    MORE.iter().find(|more| more.command == command)
}

/// The text below the options of a command, for `--help`.
pub(super) fn text(command: &str) -> String {
    let mut text = String::new();
    let Some(more) = of(command) else {
        return text;
    };
    text.push_str("Examples:\n");
    for (comment, line) in more.examples {
        let _ = writeln!(text, "  # {comment}\n  {line}");
    }
    let _ = write!(text, "\nDocumentation: {}", more.page);
    text
}

const MORE: &[More] = &[
    More {
        command: "",
        page: "docs/README.md",
        examples: &[
            ("See it at work on a simulated server", "compose-scale demo"),
            (
                "Add autoscaling to the project in this directory",
                "compose-scale init",
            ),
            ("Find problems, each with the fix", "compose-scale check"),
            ("Start scaling", "compose-scale watch"),
        ],
    },
    More {
        command: "init",
        page: "docs/init.md",
        examples: &[
            (
                "Ask, show a diff, and write it after a yes",
                "compose-scale init",
            ),
            (
                "Show the diff only",
                "compose-scale init --service web --max 6 --dry-run",
            ),
            (
                "Remove everything that init wrote",
                "compose-scale init --undo",
            ),
        ],
    },
    More {
        command: "watch",
        page: "docs/how-it-works.md",
        examples: &[
            (
                "Scale until Ctrl-C, with a live screen on a terminal",
                "compose-scale watch",
            ),
            (
                "Show what would be done, change nothing",
                "compose-scale watch --dry-run",
            ),
            (
                "Serve Prometheus metrics",
                "compose-scale watch --metrics localhost:9917",
            ),
        ],
    },
    More {
        command: "scale",
        page: "docs/commands.md",
        examples: &[
            (
                "Scale web to 5 replicas and wait until they serve",
                "compose-scale scale web=5",
            ),
            (
                "Keep this count for two hours",
                "compose-scale scale web=5 --hold 2h",
            ),
            (
                "Show the steps, change nothing",
                "compose-scale scale web=5 worker=2 --dry-run",
            ),
        ],
    },
    More {
        command: "ps",
        page: "docs/reasons.md",
        examples: &[
            (
                "Show replicas, load and the last decision",
                "compose-scale ps",
            ),
            ("The same for scripts", "compose-scale ps --format json"),
        ],
    },
    More {
        command: "history",
        page: "docs/history.md",
        examples: &[
            (
                "Show the last three hours",
                "compose-scale history --since 3h",
            ),
            (
                "Draw the replicas of web over a day",
                "compose-scale history --since 24h --service web --chart",
            ),
            (
                "Follow new entries",
                "compose-scale history --last 10 --follow",
            ),
        ],
    },
    More {
        command: "pause",
        page: "docs/commands.md",
        examples: &[
            (
                "Keep the count of web for two hours",
                "compose-scale pause web --for 2h",
            ),
            (
                "Pause scaling down only, until resume",
                "compose-scale pause web --down",
            ),
        ],
    },
    More {
        command: "resume",
        page: "docs/commands.md",
        examples: &[
            ("End the pause of web", "compose-scale resume web"),
            (
                "End the pauses of two services",
                "compose-scale resume web worker",
            ),
        ],
    },
    More {
        command: "sync",
        page: "docs/nginx.md",
        examples: &[
            (
                "Write the upstreams of the running replicas and reload nginx",
                "compose-scale sync",
            ),
            (
                "The same, for another compose file",
                "compose-scale -f /srv/shop/compose.yaml sync",
            ),
        ],
    },
    More {
        command: "config",
        page: "docs/config.md",
        examples: &[
            (
                "Print the project with all defaults",
                "compose-scale config",
            ),
            (
                "Print the policy of web",
                "compose-scale config --format json | jq .services.web.policy",
            ),
            (
                "Print the files that nginx would get now",
                "compose-scale config --nginx",
            ),
        ],
    },
    More {
        command: "check",
        page: "docs/check.md",
        examples: &[
            ("Find problems, each with the fix", "compose-scale check"),
            (
                "List the codes for a script",
                "compose-scale check --format json | jq -r '.findings[].code'",
            ),
            ("Test the notifications", "compose-scale check --send-test"),
        ],
    },
    More {
        command: "explain",
        page: "docs/decisions.md",
        examples: &[
            (
                "Explain the decisions of web that changed its count",
                "compose-scale explain --input ~/.local/state/compose-scale/shop/scaling.log --service web",
            ),
            (
                "Explain a recording of watch --record",
                "compose-scale explain --input recording.jsonl",
            ),
        ],
    },
    More {
        command: "simulate",
        page: "docs/simulate.md",
        examples: &[
            (
                "Try the policy of this project on a day of load",
                "compose-scale simulate --load daily:5..100 --service-time 120ms --html report.html",
            ),
            (
                "Compare it with another policy, on a recording of watch --record",
                "compose-scale simulate --recording recording.jsonl --policy other.yaml",
            ),
            (
                "Find the cheapest policy that meets a goal",
                "compose-scale simulate --load spikes:5..80 --goal p95=300ms --suggest",
            ),
        ],
    },
    More {
        command: "demo",
        page: "docs/commands.md",
        examples: &[
            ("Run on a simulated server", "compose-scale demo"),
            (
                "Run on this machine's Engine; everything is removed at the end",
                "compose-scale demo --engine docker",
            ),
        ],
    },
    More {
        command: "export",
        page: "docs/export.md",
        examples: &[
            (
                "Print Kubernetes manifests",
                "compose-scale export kubernetes",
            ),
            (
                "Write them into a directory",
                "compose-scale export kubernetes --output k8s",
            ),
        ],
    },
    More {
        command: "export kubernetes",
        page: "docs/export.md",
        examples: &[
            (
                "Write a file per object, and a kustomization.yaml",
                "compose-scale export kubernetes --output k8s",
            ),
            (
                "Choose the Ingress controller and a host name",
                "compose-scale export kubernetes --ingress nginx --host web=www.example.com",
            ),
            (
                "Fail when something does not carry over",
                "compose-scale export kubernetes --strict",
            ),
        ],
    },
    More {
        command: "completions",
        page: "docs/commands.md",
        examples: &[
            (
                "Complete commands and options in this bash",
                "compose-scale completions bash > ~/.local/share/bash-completion/completions/compose-scale",
            ),
            (
                "Print the script for fish",
                "compose-scale completions fish",
            ),
        ],
    },
    More {
        command: "man",
        page: "docs/commands.md",
        examples: &[
            (
                "Read the page of a command",
                "compose-scale man watch | man -l -",
            ),
            (
                "Write all pages into a directory",
                "compose-scale man --directory man1",
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::{Command, CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::Cli;

    /// Every command and subcommand by its words, without `help`.
    fn commands(of: &Command, before: &str) -> Vec<(String, Command)> {
        let below = of
            .get_subcommands()
            .filter(|command| command.get_name() != "help");
        below
            .flat_map(|command| {
                let words = format!("{before} {}", command.get_name());
                let mut all = commands(command, &words);
                all.push((words.trim().to_owned(), command.clone()));
                all
            })
            .collect()
    }

    fn all() -> Vec<(String, Command)> {
        let mut program = Cli::command();
        program.build();
        let mut all = commands(&program, "");
        all.push((String::new(), program));
        all
    }

    /// The words of a line up to a pipe or a redirection.
    fn words(line: &str) -> impl Iterator<Item = &str> {
        line.split_whitespace()
            .take_while(|word| !matches!(*word, "|" | ">"))
    }

    #[test]
    fn every_help_has_examples_that_parse_and_names_a_page() {
        for (name, mut command) in all() {
            let help = command.render_long_help().to_string();
            let (_, below) = help
                .split_once("Examples:\n")
                .unwrap_or_else(|| panic!("{name}: no examples\n{help}"));
            let (examples, below) = below.split_once("\n\n").unwrap();
            let lines: Vec<_> = examples.lines().map(str::trim).collect();
            assert!((2..=4).contains(&(lines.len() / 2)), "{name}: {lines:?}");
            for pair in lines.chunks(2) {
                let [comment, line] = pair else {
                    panic!("{name}: a comment without a line: {pair:?}");
                };
                assert!(comment.starts_with("# "), "{name}: {comment}");
                if let Err(error) = Cli::try_parse_from(words(line)) {
                    panic!("{line}\n{error}");
                }
                let has_it = name.split(' ').all(|word| line.contains(word));
                assert!(has_it, "{line} is no example of {name}");
            }
            let page = below
                .lines()
                .find_map(|line| line.strip_prefix("Documentation: "))
                .unwrap_or_else(|| panic!("{name}: no page\n{help}"));
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
            assert!(page.starts_with("docs/") && path.is_file(), "{page}");
        }
    }

    #[test]
    fn every_entry_belongs_to_a_command() {
        let names: Vec<_> = all().into_iter().map(|(name, _)| name).collect();
        for more in MORE {
            assert!(names.iter().any(|name| name == more.command), "{more:?}");
        }
    }

    #[test]
    fn global_options_have_a_heading_of_their_own_and_the_short_help_has_no_examples() {
        for (name, mut command) in all() {
            let short = command.render_help().to_string();
            let (_, global) = short
                .split_once("\nGlobal options:\n")
                .unwrap_or_else(|| panic!("{name}: {short}"));
            for option in ["--file", "--profile", "--verbose", "--log-format"] {
                assert!(global.contains(option), "{name}: {option}");
            }
            assert!(!short.contains("Examples:"), "{name}: {short}");
            let about = command.get_about().unwrap().to_string();
            assert!(name.is_empty() || about.len() <= 80, "{name}: {about}");
        }
    }
}
