//! The last minutes of a metric in a line of blocks.

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last values, one character each, from nothing to the larger of the target and the largest value.
/// Where there was none there is a gap.
pub(super) fn spark(values: &[Option<f64>], target: Option<f64>, width: usize) -> String {
    let shown = &values[values.len().saturating_sub(width)..];
    let most = shown.iter().flatten().copied().fold(0.0, f64::max);
    let most = most.max(target.unwrap_or(0.0));
    shown
        .iter()
        .map(|value| match value {
            None => ' ',
            Some(_) if most <= 0.0 => BLOCKS[0],
            Some(value) => {
                let step = (value / most * BLOCKS.len() as f64).ceil() as usize;
                BLOCKS[step.clamp(1, BLOCKS.len()) - 1]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_values_are_drawn_up_to_the_larger_of_target_and_peak() {
        let values = [Some(90.0), Some(0.0), Some(30.0), None, Some(60.0)];
        assert_eq!(spark(&values, Some(60.0), 4), "▁▄ █");
        assert_eq!(spark(&values, None, 9), "█▁▃ ▆");
        assert_eq!(spark(&[Some(0.0)], None, 9), "▁");
        assert_eq!(spark(&[], Some(1.0), 9), "");
    }
}
