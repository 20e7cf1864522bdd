//! A page with charts that needs nothing else: no script, no font, no connection. Whoever opens it need not
//! know the tool.

use std::{fmt::Write, time::Duration};

use jiff::Timestamp;

use super::{
    Results, Tried,
    format::{escaped, grouped, hours, millis, share},
    report::{snippet, verdict},
    sizing_report,
};
use crate::{
    policy::{Aim, Metric},
    sim::{PolicyGoal, StepRecord},
    units::{Short, Span},
};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 12.0;
const HEIGHT: f64 = 170.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;
/// Values that a line is drawn through.
const COLUMNS: usize = 480;
/// Parts of a chart that tell their values when one points at them.
const HOVERS: usize = 160;
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
        charts(&mut page, results, &all, first);
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

/// A part of the time, in which values are taken together.
#[derive(Debug, Clone, Copy, Default)]
struct Column {
    seconds: f64,
    rate: f64,
    busy: f64,
    p95: f64,
    serving: f64,
    most: u32,
    failed: f64,
}

fn columns(tried: &Tried, count: usize) -> Vec<Column> {
    let span = tried.trial.span.as_secs_f64();
    let mut columns = vec![Column::default(); count];
    for record in &tried.outcome.records {
        let middle = record.at.as_secs_f64() - record.seconds / 2.0;
        let index = (middle / span * count as f64) as usize;
        let Some(column) = columns.get_mut(index.min(count - 1)) else {
            continue;
        };
        let seconds = record.seconds;
        column.seconds += seconds;
        column.rate += record.rate * seconds;
        column.busy += tried.trial.busy(record) * seconds;
        column.p95 = column.p95.max(record.p95.unwrap_or(0.0));
        column.serving += f64::from(record.serving) * seconds;
        column.most = column.most.max(record.serving);
        column.failed += record.failed;
    }
    for column in &mut columns {
        let seconds = column.seconds.max(1e-9);
        column.rate /= seconds;
        column.busy /= seconds;
        column.serving /= seconds;
    }
    // One that is shorter than a step has none of its own.
    for index in 1..columns.len() {
        if columns[index].seconds == 0.0 {
            columns[index] = Column {
                failed: 0.0,
                ..columns[index - 1]
            };
        }
    }
    columns
}

/// What is drawn of one policy.
struct PolicyLine {
    colour: usize,
    points: Vec<(f64, f64)>,
    steps: bool,
}

struct HtmlChart<'a> {
    title: &'a str,
    about: String,
    unit: &'a str,
    area: Vec<(f64, f64)>,
    lines: Vec<PolicyLine>,
    aims: Vec<(usize, f64)>,
    marks: Vec<(usize, f64, f64, String)>,
    /// At least so high.
    least: f64,
}

fn charts(page: &mut String, results: &Results, all: &[&Tried], first: &Tried) {
    let of_each: Vec<_> = all.iter().map(|tried| columns(tried, COLUMNS)).collect();
    let line = |value: fn(&Column) -> f64| -> Vec<PolicyLine> {
        let lines = of_each.iter().enumerate();
        lines
            .map(|(index, columns)| PolicyLine {
                colour: index % COLOURS,
                points: at_middles(columns, value),
                steps: false,
            })
            .collect()
    };
    let hovers = hovers(all);
    let time = HtmlAxis::of(first.trial.begins, first.trial.span);
    let rate = |column: &Column| column.rate;
    let load = of_each.first().map(|columns| at_middles(columns, rate));
    draw(
        page,
        &time,
        &hovers,
        &HtmlChart {
            title: "Load",
            about: "requests per second".into(),
            unit: "/s",
            area: load.unwrap_or_default(),
            lines: Vec::new(),
            aims: Vec::new(),
            marks: Vec::new(),
            least: 1.0,
        },
    );
    let capacity = first.trial.profile.capacity();
    let needed = of_each.first().map(|columns| {
        let needed = at_middles(columns, rate);
        needed
            .into_iter()
            .map(|(at, rate)| (at, rate / capacity))
            .collect()
    });
    let serving = all.iter().enumerate().map(|(index, tried)| PolicyLine {
        colour: index % COLOURS,
        points: serving(&tried.outcome.records, tried.trial.span),
        steps: true,
    });
    draw(page, &time, &hovers, &HtmlChart {
        title: "Replicas",
        about: "serving replicas; dots are decisions, point at one for its reason. The area is the number that the load needs if every replica is always busy".into(),
        unit: "",
        area: needed.unwrap_or_default(),
        lines: serving.collect(),
        aims: Vec::new(),
        marks: marks(all),
        least: 2.0,
    });
    let cpu_target = |tried: &&Tried| {
        tried
            .trial
            .policy
            .metrics
            .iter()
            .find_map(|metric| match metric {
                Metric::Cpu(Aim::Target(target)) => Some(target.get()),
                Metric::Cpu(Aim::Thresholds { above, .. }) => Some(above.get()),
                _ => None,
            })
    };
    let targets = all.iter().enumerate();
    draw(
        page,
        &time,
        &hovers,
        &HtmlChart {
            title: "Utilisation",
            about: "how busy the serving replicas are, in percent; dashed: the target".into(),
            unit: "%",
            area: Vec::new(),
            lines: line(|column| column.busy),
            aims: targets
                .filter_map(|(index, tried)| Some((index % COLOURS, cpu_target(tried)?)))
                .collect(),
            marks: Vec::new(),
            least: 100.0,
        },
    );
    let goal = match results.goal {
        Some(PolicyGoal::Latency(_, within)) => Some((COLOURS, within)),
        _ => None,
    };
    draw(page, &time, &hovers, &HtmlChart {
        title: "Latency",
        about: "the time within which 95% of the requests were answered, in milliseconds; the worst value of each column".into(),
        unit: "ms",
        area: Vec::new(),
        lines: line(|column| column.p95),
        aims: goal.into_iter().collect(),
        marks: Vec::new(),
        least: 1.0,
    });
    if all
        .iter()
        .any(|tried| tried.outcome.measures.failed() > 0.0)
    {
        draw(
            page,
            &time,
            &hovers,
            &HtmlChart {
                title: "Failed requests",
                about: "timed out or refused, per column".into(),
                unit: "",
                area: Vec::new(),
                lines: line(|column| column.failed),
                aims: Vec::new(),
                marks: Vec::new(),
                least: 1.0,
            },
        );
    }
}

/// Positions from 0 to 1 and values.
fn at_middles(columns: &[Column], value: fn(&Column) -> f64) -> Vec<(f64, f64)> {
    let count = columns.len() as f64;
    let points = columns.iter().enumerate();
    points
        .map(|(index, column)| ((index as f64 + 0.5) / count, value(column)))
        .collect()
}

/// Where the count of those that serve changes.
fn serving(records: &[StepRecord], span: Duration) -> Vec<(f64, f64)> {
    let span = span.as_secs_f64();
    let mut points: Vec<(f64, f64)> = Vec::new();
    for record in records {
        let count = f64::from(record.serving);
        let begin = (record.at.as_secs_f64() - record.seconds) / span;
        if points
            .last()
            .is_none_or(|(_, last)| (last - count).abs() > 0.5)
        {
            points.push((begin, count));
        }
    }
    if let Some((_, last)) = points.last().copied() {
        points.push((1.0, last));
    }
    points
}

fn marks(all: &[&Tried]) -> Vec<(usize, f64, f64, String)> {
    let mut marks = Vec::new();
    for (index, tried) in all.iter().enumerate() {
        let span = tried.trial.span.as_secs_f64();
        for change in tried.outcome.changes.iter().take(LISTED) {
            let when = clock(tried.trial.begins, change.at, tried.trial.span);
            let text = format!("{when} {}: {}", tried.name, change.message);
            marks.push((
                index % COLOURS,
                change.at / span,
                f64::from(change.to),
                text,
            ));
        }
    }
    marks
}

/// What is told of a moment: its place, and words.
fn hovers(all: &[&Tried]) -> Vec<String> {
    let of_each: Vec<_> = all.iter().map(|tried| columns(tried, HOVERS)).collect();
    let Some(first) = all.first() else {
        return Vec::new();
    };
    let span = first.trial.span.as_secs_f64();
    (0..HOVERS)
        .map(|at| {
            let seconds = at as f64 / HOVERS as f64 * span;
            let mut text = clock(first.trial.begins, seconds, first.trial.span);
            if let Some(columns) = of_each.first() {
                let _ = write!(text, ", {}/s", Short(columns[at].rate));
            }
            for (tried, columns) in all.iter().zip(&of_each) {
                let column = &columns[at];
                let _ = write!(
                    text,
                    "\n{}: {} replicas, {:.0}% busy, p95 {}",
                    tried.name,
                    Short(column.serving),
                    column.busy,
                    millis(column.p95)
                );
                if column.failed >= 1.0 {
                    let _ = write!(text, ", {} failed", grouped(column.failed));
                }
            }
            text
        })
        .collect()
}

/// The time below the charts.
struct HtmlAxis {
    ticks: Vec<(f64, String)>,
}

impl HtmlAxis {
    fn of(begins: Timestamp, span: Duration) -> Self {
        const STEPS: [u64; 16] = [
            60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
            604_800, 1_209_600, 2_592_000,
        ];
        let seconds = span.as_secs().max(1);
        let step = STEPS.into_iter().find(|step| seconds / step <= 9);
        let step = step.unwrap_or(seconds / 8 + 1);
        let offset = begins
            .as_second()
            .rem_euclid(step.cast_signed())
            .unsigned_abs();
        let first = (step - offset) % step;
        let ticks = (0..=seconds / step)
            .map(|index| first + index * step)
            .filter(|at| *at <= seconds)
            .map(|at| (at as f64 / seconds as f64, clock(begins, at as f64, span)));
        Self {
            ticks: ticks.collect(),
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

/// A value beside an axis.
fn labelled(value: f64, unit: &str) -> String {
    if unit == "ms" {
        millis(value)
    } else {
        format!("{}{unit}", Short(value))
    }
}

/// A round number that is not smaller.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value * 0.999);
    step.unwrap_or(10.0) * power
}

fn draw(page: &mut String, time: &HtmlAxis, hovers: &[String], chart: &HtmlChart<'_>) {
    let lines = chart.lines.iter().flat_map(|line| &line.points);
    let all = lines.chain(&chart.area).map(|(_, value)| *value);
    let aims = chart.aims.iter().map(|(_, value)| *value * 1.1);
    let top = round_up(all.chain(aims).fold(chart.least, f64::max));
    let wide = WIDTH - LEFT - RIGHT;
    let high = HEIGHT - TOP - BOTTOM;
    let x = |part: f64| LEFT + part.clamp(0.0, 1.0) * wide;
    let y = |value: f64| TOP + high - (value / top).clamp(0.0, 1.0) * high;
    let _ = write!(
        page,
        "<h2>{}</h2><p class=\"dim\">{}</p><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        chart.title, chart.about, chart.title
    );
    for part in [0.0, 0.5, 1.0] {
        let at = y(top * part);
        let _ = write!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            labelled(top * part, chart.unit)
        );
    }
    for (part, text) in &time.ticks {
        let anchor = match x(*part) {
            at if at < LEFT + 20.0 => "start",
            at if at > WIDTH - 40.0 => "end",
            _ => "middle",
        };
        let _ = write!(
            page,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
            x(*part),
            HEIGHT - 5.0
        );
    }
    if let (Some((begin, _)), Some((end, _))) = (chart.area.first(), chart.area.last()) {
        let _ = write!(
            page,
            "<path class=\"area\" d=\"M{:.1} {:.1}",
            x(*begin),
            y(0.0)
        );
        for (at, value) in &chart.area {
            let _ = write!(page, "L{:.1} {:.1}", x(*at), y(*value));
        }
        let _ = write!(page, "L{:.1} {:.1}Z\"/>", x(*end), y(0.0));
    }
    for (colour, value) in &chart.aims {
        let at = y(*value);
        let colour = (*colour < COLOURS).then(|| format!(" s{colour}"));
        let stroke = if colour.is_none() {
            " style=\"stroke:var(--warn)\""
        } else {
            ""
        };
        let _ = write!(
            page,
            "<line class=\"aim{}\"{stroke} x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
            colour.unwrap_or_default(),
            WIDTH - RIGHT
        );
    }
    for line in &chart.lines {
        let _ = write!(page, "<path class=\"line s{}\" d=\"", line.colour);
        for (index, (at, value)) in line.points.iter().enumerate() {
            let (x, y) = (x(*at), y(*value));
            match (index, line.steps) {
                (0, _) => write!(page, "M{x:.1} {y:.1}"),
                (_, true) => write!(page, "H{x:.1}V{y:.1}"),
                (_, false) => write!(page, "L{x:.1} {y:.1}"),
            }
            .unwrap_or_default();
        }
        page.push_str("\"/>");
    }
    let each = wide / hovers.len().max(1) as f64;
    for (index, text) in hovers.iter().enumerate() {
        let _ = write!(
            page,
            "<rect class=\"hover\" x=\"{:.1}\" y=\"{TOP}\" width=\"{each:.1}\" height=\"{high}\"><title>{}</title></rect>",
            LEFT + index as f64 * each,
            escaped(text)
        );
    }
    for (colour, at, value, text) in &chart.marks {
        let _ = write!(
            page,
            "<circle class=\"f{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}</title></circle>",
            x(*at),
            y(*value),
            escaped(text)
        );
    }
    page.push_str("</svg>");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, top) in [
            (0.0, 1e-9),
            (97.0, 100.0),
            (101.0, 120.0),
            (2.4, 2.5),
            (6.1, 8.0),
        ] {
            assert!(
                (round_up(value) - top).abs() < 1e-9,
                "{value}: {}",
                round_up(value)
            );
        }
        let axis = HtmlAxis::of(
            "2026-01-05T08:10:00Z".parse().unwrap(),
            Duration::from_secs(7200),
        );
        let texts: Vec<_> = axis.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "08:15", "08:30", "08:45", "09:00", "09:15", "09:30", "09:45", "10:00"
            ]
        );
    }
}
