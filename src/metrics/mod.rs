//! Numbers for monitoring: the metrics (`catalog`), times in a few buckets (`histogram`), and the page that Prometheus
//! reads (`page`), as text 0.0.4 or as OpenMetrics 1.0.

mod catalog;
mod histogram;
mod page;

pub use self::catalog::*;
pub use self::histogram::{BOUNDS, Buckets, Histogram};
pub use self::page::{Family, MetricKind, MetricsFormat, MetricsPage, Samples, Value};
