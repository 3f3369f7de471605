//! Welch's t-test over latencies, cropped as dudect does: what interrupts a program makes a few
//! samples very long, and hides small differences of the others.

use serde::Serialize;

/// How far apart the means of two classes are, in standard errors, where only samples up to a
/// percentile of all are looked at. Beyond ±4.5 there is a difference.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Statistic {
    /// The share of the samples of both that is looked at.
    pub percentile: f64,
    /// The first mean less the second, in nanoseconds.
    pub difference_ns: f64,
    /// The same by its standard error.
    pub t: f64,
}

/// The shares that are looked at.
pub const PERCENTILES: [f64; 5] = [0.5, 0.75, 0.9, 0.99, 1.0];

/// The statistics of two classes, one a percentile.
///
/// # Panics
///
/// When a class has no samples.
#[must_use]
pub fn compare(one: &[u32], other: &[u32]) -> Vec<Statistic> {
    let mut all: Vec<u32> = one.iter().chain(other).copied().collect();
    all.sort_unstable();
    let statistic = |percentile: f64| {
        let place = (all.len() as f64 * percentile) as usize;
        let longest = all[place.min(all.len() - 1)];
        let (one, other) = (Moments::of(one, longest), Moments::of(other, longest));
        let difference_ns = one.mean - other.mean;
        let error = (one.variance / one.count + other.variance / other.count).sqrt();
        Statistic { percentile, difference_ns, t: difference_ns / error }
    };
    PERCENTILES.map(statistic).to_vec()
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(samples: &[u32], longest: u32) -> Self {
        let kept = || samples.iter().filter(|&&sample| sample <= longest).map(|&ns| f64::from(ns));
        let count = kept().count() as f64;
        let mean = kept().sum::<f64>() / count;
        let variance = kept().map(|ns| (ns - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_and_none_is_not() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut class = |more: u32| -> Vec<u32> {
            (0..20_000).map(|_| 1_000 + more + rng.u32(..200)).collect()
        };
        let (one, same, later) = (class(0), class(0), class(8));
        assert!(compare(&one, &same).iter().all(|statistic| statistic.t.abs() < 4.5));
        let found = compare(&later, &one);
        assert!(found.iter().all(|statistic| statistic.t > 4.5), "{found:?}");
        let whole = found.last().expect("the last one is the whole");
        assert!((whole.difference_ns - 8.0).abs() < 2.0, "{found:?}");
    }
}
