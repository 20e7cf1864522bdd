//! Load over time.

use std::{f64::consts::TAU, fmt, str::FromStr, time::Duration};

/// A day.
const DAY: Duration = Duration::from_secs(86_400);
/// More requests per second are a mistake.
pub(super) const MOST: f64 = 100_000.0;
/// Noise changes from one of these to the next.
const SLOT: f64 = 10.0;

/// Requests per second, or cores, as a function of the time since the beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadShape {
    pieces: Vec<ShapePiece>,
    daily: Option<Daily>,
    noise: f64,
    seed: u64,
    /// How much of it is over at the beginning.
    gone: Duration,
}

/// From `at` on the load goes to `to`, and is there after `over`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ShapePiece {
    at: Duration,
    from: f64,
    to: f64,
    over: Duration,
}

/// A wave that is lowest in the night and highest in the afternoon.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Daily {
    low: f64,
    high: f64,
    /// The time of day at which the simulation begins.
    begins: Duration,
}

impl LoadShape {
    /// Always the same.
    pub fn steady(rate: f64) -> Self {
        Self {
            pieces: vec![ShapePiece {
                at: Duration::ZERO,
                from: rate,
                to: rate,
                over: Duration::ZERO,
            }],
            daily: None,
            noise: 0.0,
            seed: 0,
            gone: Duration::ZERO,
        }
    }

    /// A wave over the day, with its low at four in the morning and its high at four in the afternoon.
    pub fn daily(low: f64, high: f64, begins: Duration) -> Self {
        Self {
            daily: Some(Daily { low, high, begins }),
            ..Self::steady(0.0)
        }
    }

    /// Values that each hold until the next one.
    pub fn trace(points: impl IntoIterator<Item = (Duration, f64)>) -> Self {
        let mut shape = Self::steady(0.0);
        for (at, rate) in points {
            shape.go(at, rate, Duration::ZERO);
        }
        shape
    }

    /// From then on it goes to this rate, and is there after so long. What was to come later is forgotten.
    pub fn go(&mut self, at: Duration, rate: f64, over: Duration) {
        let from = self.smooth(at);
        self.pieces.retain(|piece| piece.at < at);
        self.daily = None;
        self.pieces.push(ShapePiece {
            at,
            from,
            to: rate,
            over,
        });
    }

    /// It goes up and down by this share of it, at random.
    #[must_use]
    pub fn with_noise(mut self, share: f64, seed: u64) -> Self {
        self.noise = share;
        self.seed = seed;
        self
    }

    /// The same with so many times the load at every moment.
    #[must_use]
    pub fn times(mut self, times: f64) -> Self {
        for piece in &mut self.pieces {
            piece.from *= times;
            piece.to *= times;
        }
        if let Some(daily) = &mut self.daily {
            daily.low *= times;
            daily.high *= times;
        }
        self
    }

    /// What is left of it after so long.
    #[must_use]
    pub fn after(mut self, gone: Duration) -> Self {
        self.gone += gone;
        self
    }

    /// The highest rate within so long, and when it is first there.
    pub fn peak(&self, span: Duration) -> (Duration, f64) {
        const STEP: Duration = Duration::from_secs(1);
        let mut peak = (Duration::ZERO, self.rate(Duration::ZERO));
        let mut at = STEP;
        while at < span {
            let rate = self.rate(at);
            if rate > peak.1 {
                peak = (at, rate);
            }
            at += STEP;
        }
        peak
    }

    /// The rate then.
    pub fn rate(&self, at: Duration) -> f64 {
        let at = self.gone + at;
        let rate = self.smooth(at);
        if self.noise == 0.0 {
            return rate;
        }
        let slots = at.as_secs_f64() / SLOT;
        let (one, other) = (self.chance(slots as u64), self.chance(slots as u64 + 1));
        let noise = one + (other - one) * slots.fract();
        (rate * (1.0 + self.noise * noise)).max(0.0)
    }

    fn smooth(&self, at: Duration) -> f64 {
        if let Some(Daily { low, high, begins }) = self.daily {
            let day = (begins + at).as_secs_f64() / DAY.as_secs_f64();
            // Lowest at four.
            let wave = (1.0 - ((day - 4.0 / 24.0) * TAU).cos()) / 2.0;
            return low + (high - low) * wave;
        }
        let after = self.pieces.partition_point(|piece| piece.at <= at);
        let Some(piece) = after.checked_sub(1).map(|index| self.pieces[index]) else {
            return 0.0;
        };
        let gone = at.saturating_sub(piece.at).as_secs_f64();
        let over = piece.over.as_secs_f64();
        if gone >= over {
            piece.to
        } else {
            piece.from + (piece.to - piece.from) * gone / over
        }
    }

    /// Between -1 and 1, the same for the same slot.
    fn chance(&self, slot: u64) -> f64 {
        // SplitMix64.
        let mut x = self.seed ^ slot.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// A shape that can be named, with the lowest and the highest rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Named {
    kind: ShapeKind,
    low: f64,
    high: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShapeKind {
    Steady,
    Steps,
    Ramp,
    Spikes,
    Daily,
    Week,
}

impl ShapeKind {
    const ALL: [(Self, &str); 6] = [
        (Self::Steady, "steady"),
        (Self::Steps, "steps"),
        (Self::Ramp, "ramp"),
        (Self::Spikes, "spikes"),
        (Self::Daily, "daily"),
        (Self::Week, "week"),
    ];
}

impl Named {
    /// How long it takes to see all of it.
    pub fn span(&self) -> Duration {
        Duration::from_secs(match self.kind {
            ShapeKind::Steady => 1800,
            ShapeKind::Steps | ShapeKind::Spikes => 7200,
            ShapeKind::Ramp => 3600,
            ShapeKind::Daily => 86_400,
            ShapeKind::Week => 7 * 86_400,
        })
    }

    /// The load over time; it begins at this time of day.
    pub fn shape(&self, begins: Duration, seed: u64) -> LoadShape {
        let (low, high) = (self.low, self.high);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        match self.kind {
            ShapeKind::Steady => LoadShape::steady(high),
            ShapeKind::Steps => {
                // Up in four steps and down in four, a quarter of an hour each.
                let parts = [0.0, 0.25, 0.5, 1.0, 1.0, 0.5, 0.25, 0.0];
                let at = |index: usize| minutes(15 * index as u64);
                let points = parts.iter().enumerate();
                LoadShape::trace(points.map(|(i, part)| (at(i), low + (high - low) * part)))
            }
            ShapeKind::Ramp => {
                let mut shape = LoadShape::steady(low);
                shape.go(minutes(10), high, minutes(20));
                let mut down = shape.clone();
                down.go(minutes(40), low, minutes(10));
                down
            }
            ShapeKind::Spikes => {
                let mut shape = LoadShape::steady(low);
                for (at, lasts) in [(10, 1), (40, 5), (80, 10)] {
                    shape.go(minutes(at), high, Duration::from_secs(5));
                    shape.go(minutes(at + lasts), low, Duration::from_secs(5));
                }
                shape
            }
            ShapeKind::Daily | ShapeKind::Week => {
                LoadShape::daily(low, high, begins).with_noise(0.15, seed)
            }
        }
    }
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let names: Vec<_> = ShapeKind::ALL.iter().map(|(_, name)| *name).collect();
            format!(
                "expected a shape and its rates in requests per second (up to {MOST}), like steady:50 or daily:5..100; the shapes are {}",
                names.join(", ")
            )
        };
        let (name, rates) = text.split_once(':').ok_or_else(wrong)?;
        let kind = ShapeKind::ALL.iter().find(|(_, one)| *one == name);
        let (kind, _) = kind.ok_or_else(wrong)?;
        let number = |text: &str| {
            let number = text.parse::<f64>().ok();
            number.filter(|number| (0.0..=MOST).contains(number))
        };
        let (low, high) = match rates.split_once("..") {
            Some((low, high)) => (number(low), number(high)),
            None if *kind == ShapeKind::Steady => (number(rates), number(rates)),
            None => (Some(0.0), number(rates)),
        };
        let (low, high) = low.zip(high).ok_or_else(wrong)?;
        if low > high {
            return Err(format!(
                "the lowest rate, {low}, is above the highest, {high}"
            ));
        }
        Ok(Self {
            kind: *kind,
            low,
            high,
        })
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ShapeKind::ALL.iter().find(|(kind, _)| *kind == self.kind);
        let name = name.map_or("", |(_, name)| name);
        if self.kind == ShapeKind::Steady {
            write!(f, "{name}:{}", self.high)
        } else {
            write!(f, "{name}:{}..{}", self.low, self.high)
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "rates that are computed without rounding")]

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn load_holds_jumps_and_ramps() {
        let mut shape = LoadShape::steady(10.0);
        shape.go(secs(60), 50.0, Duration::ZERO);
        shape.go(secs(120), 10.0, secs(40));
        let rates = [0, 59, 60, 119, 120, 130, 160, 1000].map(|at| shape.rate(secs(at)));
        assert_eq!(rates, [10.0, 10.0, 50.0, 50.0, 50.0, 40.0, 10.0, 10.0]);
        // Somebody changes it in the middle of a ramp.
        shape.go(secs(140), 0.0, secs(10));
        assert_eq!(shape.rate(secs(145)), 15.0);
    }

    #[test]
    fn a_trace_holds_each_value_until_the_next() {
        let shape = LoadShape::trace([(secs(10), 3.0), (secs(20), 7.0)]);
        let rates = [0, 10, 19, 20, 99].map(|at| shape.rate(secs(at)));
        assert_eq!(rates, [0.0, 3.0, 3.0, 7.0, 7.0]);
    }

    #[test]
    fn a_day_is_low_in_the_night_and_high_in_the_afternoon() {
        let shape = LoadShape::daily(10.0, 110.0, secs(0));
        let rate = |hour: u64| shape.rate(secs(hour * 3600)).round();
        assert_eq!((rate(4), rate(16), rate(28)), (10.0, 110.0, 10.0));
        let shape = LoadShape::daily(10.0, 110.0, secs(16 * 3600));
        assert_eq!(shape.rate(secs(0)).round(), 110.0);
    }

    #[test]
    fn noise_is_around_the_rate_and_the_same_for_the_same_seed() {
        let shape = LoadShape::steady(100.0).with_noise(0.2, 7);
        let rates: Vec<_> = (0..10_000).map(|at| shape.rate(secs(at))).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((mean - 100.0).abs() < 1.5, "{mean}");
        let low = rates.iter().copied().fold(f64::MAX, f64::min);
        let high = rates.iter().copied().fold(0.0, f64::max);
        assert!((80.0..85.0).contains(&low) && (115.0..=120.0).contains(&high));
        assert_eq!(rates[77], shape.rate(secs(77)));
        assert_ne!(
            rates[77],
            LoadShape::steady(100.0).with_noise(0.2, 8).rate(secs(77))
        );
    }

    #[test]
    fn a_load_is_multiplied_at_every_moment_and_may_begin_later() {
        for name in ["steady:50", "spikes:10..120", "daily:5..100"] {
            let named: Named = name.parse().unwrap();
            let (one, span) = (named.shape(Duration::ZERO, 3), named.span());
            let (ten, late) = (one.clone().times(10.0), one.clone().after(secs(700)));
            for at in (0..span.as_secs() - 700).step_by(7) {
                let (early, later) = (one.rate(secs(at)), one.rate(secs(at + 700)));
                assert!(
                    (ten.rate(secs(at)) - 10.0 * early).abs() < 1e-6,
                    "{name} at {at}"
                );
                assert_eq!(late.rate(secs(at)), later, "{name} at {at}");
            }
            let (at, high) = one.peak(span);
            assert_eq!(one.rate(at), high);
            assert!((0..span.as_secs()).all(|at| one.rate(secs(at)) <= high));
        }
    }

    #[test]
    fn named_shapes_are_read_and_written_back() {
        for text in ["steady:50", "daily:5..100", "spikes:0..20.5", "ramp:1..2"] {
            assert_eq!(text.parse::<Named>().unwrap().to_string(), text);
        }
        assert_eq!(
            "steps:8".parse::<Named>().unwrap().to_string(),
            "steps:0..8"
        );
        for wrong in ["daily", "nightly:3", "steady:-1", "ramp:5..x", "steady:inf"] {
            let error = wrong.parse::<Named>().unwrap_err();
            assert!(error.contains("steady, steps, ramp"), "{wrong}: {error}");
        }
        assert_eq!(
            "ramp:5..2".parse::<Named>().unwrap_err(),
            "the lowest rate, 5, is above the highest, 2"
        );
    }

    #[test]
    fn each_named_shape_goes_from_its_lowest_to_its_highest() {
        for (_, name) in ShapeKind::ALL {
            let named: Named = format!("{name}:20..100").parse().unwrap();
            let shape = named.shape(Duration::ZERO, 1);
            let rates: Vec<_> = (0..named.span().as_secs() / 10)
                .map(|at| shape.rate(secs(at * 10)))
                .collect();
            let high = rates.iter().copied().fold(0.0, f64::max);
            assert!((95.0..120.0).contains(&high), "{name}: {high}");
            let low = rates.iter().copied().fold(f64::MAX, f64::min);
            assert!(
                name == "steady" || (15.0..25.0).contains(&low),
                "{name}: {low}"
            );
        }
    }
}
