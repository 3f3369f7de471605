//! Numbers over time, drawn on the server: one path for each line, coloured by the style sheet.

use std::fmt::Write;

use super::time::Moment;

const WIDTH: u64 = 320;
const HEIGHT: u64 = 72;
/// How many steps a chart has at most: more of them cannot be told apart.
const STEPS_MAX: usize = 96;

/// A chart of counts.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// The class of its colour.
    pub(super) tone: &'static str,
    pub(super) total: u64,
    /// The highest step, and how many seconds a step has.
    pub(super) peak: u64,
    pub(super) step: String,
    pub(super) path: String,
    pub(super) from: Moment,
    pub(super) to: Moment,
}

impl Chart {
    /// Of these counts, one for each so many seconds.
    pub(super) fn new(
        title: &'static str,
        tone: &'static str,
        counts: &[u64],
        step_seconds: u64,
        (from, to): (Moment, Moment),
    ) -> Self {
        let joined = counts.len().div_ceil(STEPS_MAX).max(1);
        let steps: Vec<u64> = counts.chunks(joined).map(|some| some.iter().sum()).collect();
        let peak = steps.iter().copied().max().unwrap_or(0);
        let step = step_seconds.saturating_mul(u64::try_from(joined).unwrap_or(1));
        Self {
            title,
            tone,
            total: counts.iter().sum(),
            peak,
            step: super::time::roughly(step),
            path: area(&steps, peak),
            from,
            to,
        }
    }

    /// What the chart shows, for who does not see it.
    pub(super) fn summary(&self) -> String {
        let Self { title, total, peak, step, .. } = self;
        format!("{title}: {total} in all, at most {peak} within {step}")
    }

    pub(super) fn view_box(&self) -> String {
        format!("0 0 {WIDTH} {HEIGHT}")
    }
}

/// The outline of columns that stand side by side. Whatever is not nothing can be seen.
fn area(steps: &[u64], peak: u64) -> String {
    let mut path = format!("M0 {HEIGHT}");
    let count = u64::try_from(steps.len()).unwrap_or(u64::MAX).max(1);
    for (place, step) in (1..).zip(steps) {
        let tall = match step {
            0 => 0,
            step => (u128::from(*step) * u128::from(HEIGHT) / u128::from(peak.max(1))).max(2),
        };
        let top = u128::from(HEIGHT).saturating_sub(tall);
        write!(path, "V{top}H{}", WIDTH * place / count).expect("a string takes what it is given");
    }
    write!(path, "V{HEIGHT}Z").expect("a string takes what it is given");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_side_by_side() {
        assert_eq!(area(&[0, 2, 1, 0], 2), "M0 72V72H80V0H160V36H240V72H320V72Z");
        assert_eq!(area(&[], 0), "M0 72V72Z");
        // One of a million is still there, and a million is no more than the chart is high.
        assert_eq!(area(&[1, 1_000_000], 1_000_000), "M0 72V70H160V0H320V72Z");
        let now = (Moment::now(), Moment::now());
        let chart = Chart::new("Accepted", "good", &vec![u64::MAX >> 32; 288], 300, now);
        assert_eq!((chart.path.matches('H').count(), chart.step.as_str()), (96, "15 min"));
    }
}
