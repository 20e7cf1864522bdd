//! The machines that it takes, for a terminal, for programs and on the page.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{
    format::{escaped, grouped},
    sizing::{SHORT, Sized, Sizing, times, two_digits},
};
use crate::{sim::Grown, units::Short};

const KINDS: [&str; 5] = [
    "KIND",
    "MACHINE",
    "HOLDS",
    "ONE LASTS UNTIL",
    "CORES FULL AT",
];
const LOADS: [&str; 9] = [
    "LOAD",
    "PEAK",
    "REPLICAS",
    "95%",
    "MEAN",
    "KIND",
    "MACHINES",
    "N+1",
    "WITHOUT ONE",
];
/// What the columns are, for whoever reads them for the first time.
const LEGEND: [&str; 4] = [
    "ONE LASTS UNTIL: the multiple of today's load at which the limits of all replicas fill one machine",
    "CORES FULL AT: the multiple of today's load at which all cores of one machine are busy at the peak, whatever the limits",
    "MACHINES: for the REPLICAS at the peak (95%: enough for 95% of the time); N+1: enough also when one machine fails",
    "WITHOUT ONE: the share of the replicas at the peak that fits when one of MACHINES fails",
];

/// For people.
pub(super) fn text(sizing: &Sizing) -> String {
    let mut text = String::new();
    for one in &sizing.policies {
        let _ = writeln!(text, "\nmachines for {}\n", one.name);
        if !one.loads.is_empty() {
            text.push_str(&table(&KINDS, kinds(sizing, one), 2));
            text.push('\n');
            text.push_str(&table(&LOADS, loads(sizing, one), 5));
        }
        for (index, remark) in one.remarks.iter().enumerate() {
            let space = if index == 0 && !one.loads.is_empty() {
                "\n"
            } else {
                ""
            };
            let _ = writeln!(text, "{space}{}: {remark}", one.name);
        }
    }
    if sizing.policies.iter().any(|one| !one.loads.is_empty()) {
        text.push_str("\nassumptions\n");
        for line in sizing.assumed.iter().map(String::as_str).chain(LEGEND) {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}

/// `left` is the column that holds a name beside the first one.
fn table(headings: &[&str], rows: Vec<Vec<String>>, left: usize) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(headings.iter().map(|heading| Cell::new(*heading)));
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new));
    }
    let of_kinds = headings == KINDS;
    for (index, column) in table.column_iter_mut().enumerate() {
        let is_text = if of_kinds {
            index <= left
        } else {
            index == 0 || index == left
        };
        if !is_text {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// How far one machine of each kind goes.
fn kinds(sizing: &Sizing, policy: &Sized) -> Vec<Vec<String>> {
    let peak = policy.loads.first().map_or(0.0, |one| one.peak / one.times);
    let at = |multiple: f64| {
        let load = rate(two_digits(multiple) * peak);
        format!("{} ({load}/s)", times(multiple))
    };
    let rows = sizing.kinds.iter().zip(&policy.one);
    rows.map(|((kind, fit), reach)| {
        let count = fit.replicas();
        let plural = if count == 1 { "" } else { "s" };
        vec![
            kind.name.clone(),
            kind.has.to_string(),
            format!("{count} replica{plural} ({})", fit.bound()),
            reach.lasts.map_or_else(|| "-".to_owned(), at),
            at(reach.cores_full),
        ]
    })
    .collect()
}

/// What each multiple of the load takes, of each kind.
fn loads(sizing: &Sizing, policy: &Sized) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for load in &policy.loads {
        for (index, (kind, fit)) in sizing.kinds.iter().enumerate() {
            let machines = fit.machines(load.needed()).unwrap_or(0);
            let of_load = [
                name(load),
                format!("{}/s", rate(load.peak)),
                replicas(load),
                grouped(f64::from(load.usual)),
                mean(load.mean),
            ];
            let mut row = if index == 0 {
                of_load.to_vec()
            } else {
                vec![String::new(); 5]
            };
            row.extend([
                kind.name.clone(),
                grouped(f64::from(machines)),
                grouped(f64::from(machines + 1)),
                // Rounded down: all of them is all of them.
                format!(
                    "{:.0}%",
                    (fit.without_one(machines, load.needed()) * 100.0).floor()
                ),
            ]);
            rows.push(row);
        }
    }
    rows
}

fn name(load: &Grown) -> String {
    let name = if load.times <= 1.0 {
        "today".into()
    } else {
        times(load.times)
    };
    if load.is_short() {
        format!("{name} {SHORT}")
    } else {
        name
    }
}

/// Those that ran, and of how many where that was too few.
fn replicas(load: &Grown) -> String {
    let (ran, needed) = (f64::from(load.most), f64::from(load.needed()));
    if needed > ran {
        format!("{} of {}", grouped(ran), grouped(needed))
    } else {
        grouped(ran)
    }
}

fn mean(mean: f64) -> String {
    if mean < 100.0 {
        Short(mean).to_string()
    } else {
        grouped(mean)
    }
}

fn rate(rate: f64) -> String {
    if rate < 100.0 {
        Short(rate).to_string()
    } else {
        grouped(rate)
    }
}

/// For programs: what is the same for all policies.
pub(super) fn json(sizing: &Sizing) -> Value {
    let kinds = sizing.kinds.iter().map(|(kind, fit)| {
        json!({
            "name": kind.name,
            "cpus": kind.has.cores,
            "memory_bytes": kind.has.memory.0,
            "replicas_on_one": fit.replicas(),
            "bound_by": fit.bound(),
        })
    });
    json!({
        "replica": {
            "cpus": sizing.replica.cores,
            "cpus_from": sizing.cores_from,
            "memory_bytes": sizing.replica.memory.0,
            "memory_from": sizing.memory_from,
        },
        "kinds": kinds.collect::<Vec<_>>(),
        "assumed": sizing.assumed,
    })
}

/// One policy's part.
pub(super) fn json_of(sizing: &Sizing, policy: &Sized) -> Value {
    let one = sizing.kinds.iter().zip(&policy.one);
    let one = one.map(|((kind, _), reach)| {
        json!({
            "kind": kind.name,
            "lasts_until": reach.lasts,
            "cores_full_at": reach.cores_full,
        })
    });
    let loads = policy.loads.iter().map(|load| {
        let machines = sizing.kinds.iter().map(|(kind, fit)| {
            let count = fit.machines(load.needed()).unwrap_or(0);
            json!({
                "kind": kind.name,
                "machines": count,
                "to_lose_one": count + 1,
                "without_one": fit.without_one(count, load.needed()),
            })
        });
        json!({
            "times": load.times,
            "peak": load.peak,
            "replicas": {"peak": load.most, "p95": load.usual, "mean": load.mean},
            "short_of": load.shortage,
            "machines_for": load.needed(),
            "each_stands_for": load.each,
            "machines": machines.collect::<Vec<_>>(),
        })
    });
    json!({
        "one_machine": one.collect::<Vec<_>>(),
        "loads": loads.collect::<Vec<_>>(),
        "remarks": policy.remarks,
    })
}

/// For the page.
pub(super) fn html(page: &mut String, sizing: &Sizing) {
    for one in &sizing.policies {
        let _ = write!(page, "<h2>Machines for {}</h2>", escaped(&one.name));
        if !one.loads.is_empty() {
            for (headings, rows) in [
                (&KINDS[..], kinds(sizing, one)),
                (&LOADS[..], loads(sizing, one)),
            ] {
                page.push_str("<div class=\"scroll\"><table><tr>");
                for heading in headings {
                    let (first, rest) = heading.split_at(1);
                    let _ = write!(page, "<th>{first}{}", rest.to_lowercase());
                }
                for row in rows {
                    page.push_str("<tr>");
                    for cell in row {
                        let _ = write!(page, "<td>{}", escaped(&cell));
                    }
                }
                page.push_str("</table></div>");
            }
        }
        for remark in &one.remarks {
            let _ = write!(page, "<p>{}: {}.</p>", escaped(&one.name), escaped(remark));
        }
    }
    page.push_str("<p class=\"dim\">Assumptions: ");
    let lines = sizing.assumed.iter().map(String::as_str).chain(LEGEND);
    let lines: Vec<_> = lines.map(escaped).collect();
    let _ = write!(page, "{}.</p>", lines.join(". "));
}
