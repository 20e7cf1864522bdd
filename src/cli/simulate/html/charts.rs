//! The charts of the page.

use std::{fmt::Write, time::Duration};

use jiff::Timestamp;

use super::{
    super::{
        Results, Tried,
        format::{escaped, grouped, millis},
    },
    COLOURS, LISTED, clock,
};
use crate::{
    policy::Metric,
    sim::{PolicyGoal, StepRecord},
    units::Short,
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

pub(super) fn charts(page: &mut String, results: &Results, all: &[&Tried], first: &Tried) {
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
            .find(|metric| metric.is_cpu())
            .and_then(Metric::ceiling)
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
