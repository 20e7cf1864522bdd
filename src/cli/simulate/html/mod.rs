//! A page with charts that needs nothing else: no script, no font, no connection. Whoever opens it need not
//! know the tool.

mod charts;

use std::{fmt::Write, time::Duration};

use jiff::Timestamp;

use super::{
    Results, Tried,
    format::{escaped, grouped, hours, millis, share},
    report::{snippet, verdict},
    sizing_report,
};
use crate::{sim::PolicyGoal, units::Span};

/// Changes that are listed; the JSON form has all of them.
const LISTED: usize = 300;
/// Told apart by people who do not see all colours, too.
const COLOURS: usize = 6;

const STYLE: &str = "
:root{--bg:#fff;--fg:#1b1f24;--dim:#5b6570;--grid:#e3e7eb;--area:#9db4cc;--c0:#1f6feb;--c1:#d9730d;--c2:#0f8a5f;--c3:#8b46c9;--c4:#c2255c;--c5:#7a6a00;--warn:#c0362c}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e6e9ec;--dim:#98a2ad;--grid:#2a3036;--area:#47607a;--c0:#6cabff;--c1:#f0a05a;--c2:#4fc79b;--c3:#c39bf0;--c4:#f07ba6;--c5:#d3c25a;--warn:#ff7b6e}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1000px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:28px 0 2px}
p{margin:4px 0 10px}.dim{color:var(--dim)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 14px 5px 0;border-bottom:1px solid var(--grid);white-space:nowrap}
th{font-weight:600;color:var(--dim);font-size:13px}
th:first-child,td:first-child{text-align:left}
td.text{text-align:left;white-space:normal;min-width:320px}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--dim);font:12px system-ui,sans-serif}
.grid{stroke:var(--grid);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.aim{stroke-width:1.2;stroke-dasharray:5 4;fill:none}
.area{fill:var(--area);opacity:.45}
.hover{fill:transparent}.hover:hover{fill:var(--dim);opacity:.14}
.key{display:inline-block;width:14px;height:4px;border-radius:2px;vertical-align:middle;margin-right:6px}
.bad{color:var(--warn)}
details{margin-top:10px}summary{cursor:pointer}
pre{background:var(--grid);padding:12px 14px;border-radius:6px;overflow-x:auto;font-size:13px}
";

/// The page.
pub(super) fn page(results: &Results) -> String {
    let suggested = results.found.iter().filter_map(|(_, best)| best.as_ref());
    let all: Vec<&Tried> = results.tried.iter().chain(suggested).collect();
    let mut page = String::new();
    let title = format!("compose-scale: {}", results.load);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{}</title><style>{STYLE}",
        escaped(&title)
    );
    for colour in 0..COLOURS {
        let _ = write!(
            page,
            ".s{colour}{{stroke:var(--c{colour})}}.f{colour}{{fill:var(--c{colour});background:var(--c{colour})}}"
        );
    }
    page.push_str("</style></head><body><main>");
    head(&mut page, results, &all);
    if let Some(sizing) = &results.sizing {
        sizing_report::html(&mut page, sizing);
    }
    if let Some(first) = all.first() {
        charts::charts(&mut page, results, &all, first);
    }
    for (index, tried) in all.iter().enumerate() {
        decisions(&mut page, index, tried);
    }
    page.push_str("</main></body></html>\n");
    page
}

fn head(page: &mut String, results: &Results, all: &[&Tried]) {
    let Some(first) = all.first() else { return };
    let _ = write!(
        page,
        "<h1>{}</h1><p class=\"dim\">{} of load from {}, {} requests, simulated by compose-scale {}. \
         The app: {}.</p>\
         <p>compose-scale adds replicas of a service when load rises and removes them when it falls. \
         Each policy below had the same load; the table shows its cost, latency and failures.</p>",
        escaped(&first.trial.service),
        Span(first.trial.span),
        escaped(&results.load),
        grouped(first.outcome.measures.requests),
        env!("CARGO_PKG_VERSION"),
        escaped(&results.app),
    );
    page.push_str(
        "<div class=\"scroll\"><table><tr><th>Policy<th>Replica-hours<th>Replicas<th>Busy<th>Over target<th>p50<th>p95<th>p99<th>Failed<th>Changes<th>Back within 10m<th>Short of",
    );
    for (index, tried) in all.iter().enumerate() {
        let measures = &tried.outcome.measures;
        let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), millis);
        let bad = if measures.failed() > PolicyGoal::FAILED {
            " class=\"bad\""
        } else {
            ""
        };
        let _ = write!(
            page,
            "<tr><td><span class=\"key f{}\"></span>{}<td>{}<td>{}–{}<td>{:.0}%<td>{}<td>{}<td>{}<td>{}<td{bad}>{}<td>{}<td>{}<td>{}",
            index % COLOURS,
            escaped(&tried.name),
            hours(measures.replica_hours),
            measures.fewest,
            measures.most,
            measures.utilisation,
            share(measures.over_target),
            ms(measures.p50_ms),
            ms(measures.p95_ms),
            ms(measures.p99_ms),
            share(measures.failed()),
            measures.scale_events,
            measures.flaps,
            measures.largest_shortage,
        );
    }
    page.push_str(
        "</table></div><p class=\"dim\">Replica-hours: running replicas times hours, the cost. Busy: mean load, as a share of \
         what the replicas can handle. Over target: the share of the time in which load was above the policy's target. \
         p95: 95% of the requests were answered within this time. Failed: nginx timed out, or full replicas refused them. \
         Short of: the most replicas that were missing to handle the whole load.</p>",
    );
    if let Some(goal) = results.goal {
        for tried in all {
            let _ = write!(
                page,
                "<p>{} {}.</p>",
                escaped(&tried.name),
                verdict(goal, &tried.outcome.measures)
            );
        }
    }
    if let Some((found, best)) = &results.found {
        match best {
            Some(best) => {
                let _ = write!(
                    page,
                    "<p>The cheapest of {} policies that meets the goal:</p><pre>{}</pre>",
                    found.tried,
                    escaped(&snippet(&best.trial.policy))
                );
            }
            None => {
                let _ = write!(
                    page,
                    "<p>None of {} policies meets the goal.</p>",
                    found.tried
                );
            }
        }
    }
}

/// The time of the wall clock, as exact as the span asks for.
fn clock(begins: Timestamp, seconds: f64, span: Duration) -> String {
    let at = begins
        .checked_add(jiff::SignedDuration::from_secs_f64(seconds))
        .unwrap_or(begins);
    let form = match span.as_secs() {
        0..=3600 => "%H:%M:%S",
        3601..=172_800 => "%H:%M",
        172_801..=1_209_600 => "%a %H:%M",
        _ => "%b %d",
    };
    at.strftime(form).to_string()
}

fn decisions(page: &mut String, index: usize, tried: &Tried) {
    let changes = &tried.outcome.changes;
    let _ = write!(
        page,
        "<details><summary><span class=\"key f{}\"></span>{}: {} decisions that changed the count</summary>",
        index % COLOURS,
        escaped(&tried.name),
        changes.len()
    );
    if changes.len() > LISTED {
        let _ = write!(page, "<p class=\"dim\">The first {LISTED} of them.</p>");
    }
    page.push_str("<div class=\"scroll\"><table><tr><th>Time<th>From<th>To<th>Why");
    for change in changes.iter().take(LISTED) {
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td>{}<td class=\"text\">{}",
            clock(tried.trial.begins, change.at, Duration::from_secs(200_000)),
            change.from,
            change.to,
            escaped(&change.message)
        );
    }
    page.push_str("</table></div></details>");
}
