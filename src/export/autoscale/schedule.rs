//! Bounds by the clock as `cron` triggers of KEDA, which have a beginning and an end, both patterns.

use std::fmt::Write;

use indexmap::IndexMap;

use crate::policy::{Policy, Schedule, Select, Zone};

use super::{notes::Notes, trigger::Trigger};

const DAY: u64 = 24 * 60;

/// The floors.
pub(super) fn floors(policy: &Policy, notes: &mut Notes) -> Vec<Trigger> {
    let schedules = policy.schedule.iter().enumerate();
    schedules
        .filter_map(|(index, schedule)| {
            let place = format!("schedule.{index}");
            if let Some(max) = schedule.max {
                notes.lost(
                    format!("{place}.max"),
                    format!("{max}: a ceiling by the clock has no word there; left out"),
                    "let two CronJobs patch maxReplicaCount of the ScaledObject",
                );
            }
            floor(policy, index, schedule, &place, notes)
        })
        .collect()
}

fn floor(
    policy: &Policy,
    index: usize,
    schedule: &Schedule,
    place: &str,
    notes: &mut Notes,
) -> Option<Trigger> {
    let min = schedule.min?;
    let (start, end) = match While::parse(&schedule.cron.to_string(), schedule.lasts.0.as_secs()) {
        Ok(times) => times.patterns(),
        Err(why) => {
            notes.lost(
                place,
                format!(
                    "{{cron: \"{}\", for: {}}}: KEDA has a pattern for the end, too, and this one cannot be told: {why}; \
                     left out",
                    schedule.cron, schedule.lasts
                ),
                "use entries of one time of day each, on weekdays, shorter than the time to the next one; or raise min",
            );
            return None;
        }
    };
    note_floor(policy, min, schedule, place, notes);
    Some(Trigger {
        kind: "cron",
        name: format!("schedule-{index}"),
        metric_type: None,
        metadata: IndexMap::from([
            ("timezone", schedule.timezone.to_string()),
            ("start", start),
            ("end", end),
            ("desiredReplicas", min.to_string()),
        ]),
    })
}

fn note_floor(policy: &Policy, min: u32, schedule: &Schedule, place: &str, notes: &mut Notes) {
    let mut what = format!(
        "min {min} is a metric among others there, and so within the windows and rates of `behavior`"
    );
    let mut fix = "nothing to do where scale_up is quick";
    // Within the tolerance a count is left alone: 10 of a wanted 11 is 1.1.
    let near = f64::from(min) / (1.0 + policy.tolerance.up);
    let least = near.ceil().max(1.0);
    if least < f64::from(min) {
        let _ = write!(
            what,
            ", and within the tolerance: {least} replicas are taken for {min}"
        );
        fix = "set tolerance.up lower, or min higher";
    }
    if policy.behavior.scale_up.select == Select::Disabled {
        what += "; scale_up is disabled, so it is never reached";
        fix = "enable scale_up";
    }
    if schedule.timezone != Zone::UTC {
        what += "; where the clock changes meanwhile it ends by the clock, an hour early or late";
    }
    let is_exact = least >= f64::from(min)
        && policy.behavior.scale_up.select != Select::Disabled
        && schedule.timezone == Zone::UTC;
    if is_exact {
        notes.chosen(place, what, fix);
    } else {
        notes.lost(place, what, fix);
    }
}

/// A while that begins at one time of day, on some days.
#[derive(Debug, PartialEq, Eq)]
struct While {
    /// Minutes since midnight.
    begins: u64,
    /// In minutes.
    lasts: u64,
    day: String,
    month: String,
    /// From Sunday, 0; `None` for all of them.
    weekdays: Option<[bool; 7]>,
}

impl While {
    /// Reads a pattern; what is wrong is a fragment.
    fn parse(cron: &str, seconds: u64) -> Result<Self, String> {
        let fields: Vec<&str> = cron.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err("it has no five fields".into());
        };
        let number = |text: &str, what: &str| {
            text.parse::<u64>()
                .map_err(|_| format!("its {what} is not one number"))
        };
        let begins = number(hour, "hour")? * 60 + number(minute, "minute")?;
        if !seconds.is_multiple_of(60) {
            return Err("it does not last whole minutes".into());
        }
        let times = Self {
            begins,
            lasts: seconds / 60,
            day: day.replace('?', "*"),
            month: month.to_owned(),
            weekdays: weekdays(weekday)?,
        };
        for (field, what) in [(&times.day, "day"), (&times.month, "month")] {
            if !field
                .chars()
                .all(|c| c.is_ascii_digit() || "*,-/".contains(c))
            {
                return Err(format!("its {what} is none that KEDA knows"));
            }
        }
        if times.lasts >= times.shortest_pause() {
            return Err("it lasts until the next one begins, or longer".into());
        }
        if times.days() > 0 && (times.day != "*" || times.month != "*") {
            return Err("it ends on the day after one of the month".into());
        }
        Ok(times)
    }

    /// How many midnights it goes over.
    fn days(&self) -> u64 {
        (self.begins + self.lasts) / DAY
    }

    /// The least time from one beginning to the next, in minutes.
    fn shortest_pause(&self) -> u64 {
        let Some(weekdays) = self.weekdays else {
            return DAY;
        };
        if self.day != "*" {
            return DAY;
        }
        let on: Vec<u64> = (0..7).filter(|day| weekdays[*day as usize]).collect();
        let next = on
            .iter()
            .skip(1)
            .copied()
            .chain(on.first().map(|first| first + 7));
        let pauses = on.iter().zip(next).map(|(day, next)| next - day);
        pauses.min().unwrap_or(7) * DAY
    }

    fn patterns(&self) -> (String, String) {
        let Self { day, month, .. } = self;
        let pattern = |minutes: u64, days: u64| {
            let weekdays = self.weekdays.map(|on| {
                let mut moved = [false; 7];
                for (weekday, one) in on.into_iter().enumerate() {
                    moved[(weekday + days as usize) % 7] = one;
                }
                written(moved)
            });
            let weekdays = weekdays.as_deref().unwrap_or("*");
            format!(
                "{} {} {day} {month} {weekdays}",
                minutes % 60,
                minutes / 60 % 24
            )
        };
        let end = self.begins + self.lasts;
        (pattern(self.begins, 0), pattern(end, self.days()))
    }
}

/// Reads a field of weekdays.
fn weekdays(field: &str) -> Result<Option<[bool; 7]>, String> {
    if matches!(field, "*" | "?") {
        return Ok(None);
    }
    let wrong = || "its weekday is none that KEDA knows".to_owned();
    let mut on = [false; 7];
    for part in field.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (first, last) = match range {
            "*" => ("0", "6"),
            _ => range.split_once('-').unwrap_or((range, range)),
        };
        // A step behind a single day goes on to the end of the week.
        let last = if part.contains('/') && first == last {
            "6"
        } else {
            last
        };
        let number = |text: &str| text.parse::<usize>().ok().filter(|day| *day <= 7);
        let (Some(first), Some(last), Some(step)) = (number(first), number(last), number(step))
        else {
            return Err(wrong());
        };
        if first > last || step == 0 {
            return Err(wrong());
        }
        for day in (first..=last).step_by(step) {
            on[day % 7] = true;
        }
    }
    Ok(Some(on))
}

/// Days of the week as a pattern has them, without the 7 that not everybody knows.
fn written(on: [bool; 7]) -> String {
    let days: Vec<usize> = (0..7).filter(|day| on[*day]).collect();
    match days[..] {
        [first, .., last] if days.len() > 2 && last - first + 1 == days.len() => {
            format!("{first}-{last}")
        }
        _ => days
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
    }
}
