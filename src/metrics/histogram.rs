//! Times in a few buckets. Adding one costs two additions, and no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets in microseconds, and as `le` has them; what is longer is in one more bucket.
pub const BOUNDS: [(u64, &str); 11] = [
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
    (5_000_000, "5.0"),
    (10_000_000, "10.0"),
    (30_000_000, "30.0"),
    (60_000_000, "60.0"),
    (300_000_000, "300.0"),
];

/// Times that are counted.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// A histogram at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    /// How many times are within each bound, those of the bounds before it included; the last are all.
    pub up_to: [u64; BOUNDS.len() + 1],
    /// The sum of all times in microseconds.
    pub micros: u64,
}

impl Histogram {
    /// One more.
    pub fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|(bound, _)| micros <= *bound);
        if let Some(bucket) = self.buckets.get(bucket.unwrap_or(BOUNDS.len())) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn buckets(&self) -> Buckets {
        let mut up_to = [0; BOUNDS.len() + 1];
        let mut sum = 0;
        for (all, bucket) in up_to.iter_mut().zip(&self.buckets) {
            sum += bucket.load(Ordering::Relaxed);
            *all = sum;
        }
        Buckets {
            up_to,
            micros: self.micros.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_its_bucket_and_in_those_behind_it() {
        let histogram = Histogram::default();
        for millis in [0, 50, 51, 4_999, 300_000, 300_001] {
            histogram.add(Duration::from_millis(millis));
        }
        let buckets = histogram.buckets();
        assert_eq!(buckets.up_to, [2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 6]);
        assert_eq!(buckets.micros, 605_101_000);
    }

    #[test]
    fn the_labels_are_the_bounds() {
        for (micros, label) in BOUNDS {
            let seconds: f64 = label.parse().unwrap();
            assert_eq!(
                Duration::from_secs_f64(seconds),
                Duration::from_micros(micros)
            );
            assert!(label.contains('.'), "OpenMetrics wants {label} as a float");
        }
    }
}
