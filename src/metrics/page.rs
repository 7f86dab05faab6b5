//! A page of metrics, written as Prometheus' text format 0.0.4 or as OpenMetrics 1.0. Pure.
//!
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>.

use std::fmt::{self, Write};

use super::histogram::{BOUNDS, Buckets};

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows; its name gets `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times in buckets.
    Histogram,
    /// Facts as labels; its name gets `_info`, its value is 1.
    Info,
}

/// A metric: what is measured, whatever its labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name without `_total` or `_info`; it ends with its unit, if it has one.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// Its unit; empty without one.
    pub unit: &'static str,
    /// What it is, without quotes, backslashes and line ends.
    pub help: &'static str,
}

/// A number of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A count, or 1 for yes and 0 for no.
    Whole(u64),
    /// A time in seconds since 1970.
    Timestamp(i64),
    /// Microseconds, shown in seconds.
    Micros(u64),
    /// Any other number.
    Float(f64),
}

/// A page that is being written.
#[derive(Debug)]
pub struct MetricsPage {
    format: MetricsFormat,
    text: String,
}

/// The samples of one metric. Without any, the page does not name the metric.
#[derive(Debug)]
pub struct Samples<'p> {
    page: &'p mut MetricsPage,
    family: &'static Family,
    is_begun: bool,
}

impl MetricsFormat {
    /// Which one a client wants by its fields `Accept`: OpenMetrics only where they prefer it, or name it alone.
    pub fn accepted<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut text, mut open) = (0, 0);
        for field in fields.filter_map(|field| std::str::from_utf8(field).ok()) {
            for range in field.split(',') {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default();
                let (mut quality, mut version) = (1000, None);
                for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                    match name.trim() {
                        "q" => quality = per_mille(value.trim()),
                        "version" => version = Some(value.trim().trim_matches('"')),
                        _ => {}
                    }
                }
                let is = |name: &str| kind.eq_ignore_ascii_case(name);
                if is("application/openmetrics-text") && version.is_none_or(|one| one == "1.0.0") {
                    open = open.max(quality);
                } else if is("text/plain") && version.is_none_or(|one| one == "0.0.4") {
                    text = text.max(quality);
                }
            }
        }
        if open > text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A quality (RFC 9110 §12.4.2) in thousandths; anything else counts as refused.
fn per_mille(quality: &str) -> u32 {
    let (whole, rest) = quality.split_once('.').unwrap_or((quality, ""));
    let digits = format!("{whole}{rest:0<3}");
    digits.parse().ok().filter(|all| *all <= 1000).unwrap_or(0)
}

impl Family {
    /// The name that a sample of it has, and by which it is asked for; a histogram's gets `_bucket`, `_sum` or `_count`.
    pub fn sample_name(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix())
    }
}

impl MetricKind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }

    /// As in a page's `TYPE`.
    pub fn as_str(self, format: MetricsFormat) -> &'static str {
        match (self, format) {
            (Self::Counter, _) => "counter",
            (Self::Histogram, _) => "histogram",
            (Self::Info, MetricsFormat::OpenMetrics) => "info",
            (Self::Gauge, _) | (Self::Info, MetricsFormat::Text) => "gauge",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Timestamp(seconds) => write!(f, "{seconds}"),
            Self::Micros(micros) => write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000),
            Self::Float(number) if number.is_finite() => write!(f, "{number}"),
            Self::Float(_) => f.write_str("NaN"),
        }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Whole(yes.into())
    }
}

impl MetricsPage {
    /// An empty page.
    pub fn new(format: MetricsFormat) -> Self {
        Self {
            format,
            text: String::with_capacity(16 * 1024),
        }
    }

    /// A metric's samples. All of them follow each other, so each metric is asked for once.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        Samples {
            page: self,
            family,
            is_begun: false,
        }
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        if self.format == MetricsFormat::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn head(&mut self, family: &Family) {
        let suffix = match self.format {
            MetricsFormat::Text => family.kind.suffix(),
            MetricsFormat::OpenMetrics => "",
        };
        let (name, kind) = (family.name, family.kind.as_str(self.format));
        let mut line = |what: &str, text: &str| {
            writeln!(self.text, "# {what} {name}{suffix} {text}").ok();
        };
        line("HELP", family.help);
        line("TYPE", kind);
        if self.format == MetricsFormat::OpenMetrics && !family.unit.is_empty() {
            line("UNIT", family.unit);
        }
    }
}

impl Samples<'_> {
    /// A sample with these labels.
    pub fn add(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        self.sample(self.family.kind.suffix(), labels, None, value.into());
    }

    /// The samples of a histogram with these labels.
    pub fn add_buckets(&mut self, labels: &[(&str, &str)], buckets: &Buckets) {
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bound, count) in bounds.zip(buckets.up_to) {
            self.sample("_bucket", labels, Some(("le", bound)), count.into());
        }
        let all = buckets.up_to.last().copied().unwrap_or_default();
        self.sample("_count", labels, None, all.into());
        self.sample("_sum", labels, None, Value::Micros(buckets.micros));
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        more: Option<(&str, &str)>,
        value: Value,
    ) {
        if !self.is_begun {
            self.page.head(self.family);
            self.is_begun = true;
        }
        let text = &mut self.page.text;
        text.extend([self.family.name, suffix]);
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(more) {
            text.push(before);
            text.extend([name, "=\""]);
            escape(value, text);
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        writeln!(text, " {value}").ok();
    }
}

fn escape(value: &str, text: &mut String) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::histogram::Histogram;
    use super::*;

    static REQUESTS: Family = Family {
        name: "x_requests",
        kind: MetricKind::Counter,
        unit: "",
        help: "Requests.",
    };
    static SIZE: Family = Family {
        name: "x_size_bytes",
        kind: MetricKind::Gauge,
        unit: "bytes",
        help: "Size.",
    };
    static BUILD: Family = Family {
        name: "x_build",
        kind: MetricKind::Info,
        unit: "",
        help: "Build.",
    };
    static TIME: Family = Family {
        name: "x_time_seconds",
        kind: MetricKind::Histogram,
        unit: "seconds",
        help: "Time.",
    };

    fn page(format: MetricsFormat) -> String {
        let mut page = MetricsPage::new(format);
        let mut requests = page.family(&REQUESTS);
        requests.add(&[("model", "a\"b\\c\nd"), ("code", "2xx")], 7);
        requests.add(&[], 0);
        page.family(&SIZE).add(&[], Value::Float(0.5));
        page.family(&BUILD).add(&[("version", "1")], true);
        page.finish()
    }

    #[test]
    fn the_two_formats_differ_in_their_heads_and_their_end() {
        let samples = [
            "x_requests_total{model=\"a\\\"b\\\\c\\nd\",code=\"2xx\"} 7\nx_requests_total 0\n",
            "x_size_bytes 0.5\n",
            "x_build_info{version=\"1\"} 1\n",
        ];
        let [requests, size, build] = samples;
        assert_eq!(
            page(MetricsFormat::Text),
            format!(
                "# HELP x_requests_total Requests.\n# TYPE x_requests_total counter\n{requests}\
                 # HELP x_size_bytes Size.\n# TYPE x_size_bytes gauge\n{size}\
                 # HELP x_build_info Build.\n# TYPE x_build_info gauge\n{build}"
            )
        );
        assert_eq!(
            page(MetricsFormat::OpenMetrics),
            format!(
                "# HELP x_requests Requests.\n# TYPE x_requests counter\n{requests}\
                 # HELP x_size_bytes Size.\n# TYPE x_size_bytes gauge\n# UNIT x_size_bytes bytes\n{size}\
                 # HELP x_build Build.\n# TYPE x_build info\n{build}# EOF\n"
            )
        );
    }

    #[test]
    fn a_histogram_has_all_its_buckets_and_a_metric_without_samples_no_head() {
        let histogram = Histogram::default();
        histogram.add(Duration::from_micros(70_001));
        let mut page = MetricsPage::new(MetricsFormat::Text);
        page.family(&REQUESTS);
        let mut times = page.family(&TIME);
        times.add_buckets(&[("provider", "nous")], &histogram.buckets());
        let text = page.finish();
        assert!(!text.contains("x_requests"), "{text}");
        for line in [
            "x_time_seconds_bucket{provider=\"nous\",le=\"0.05\"} 0",
            "x_time_seconds_bucket{provider=\"nous\",le=\"0.1\"} 1",
            "x_time_seconds_bucket{provider=\"nous\",le=\"+Inf\"} 1",
            "x_time_seconds_count{provider=\"nous\"} 1",
            "x_time_seconds_sum{provider=\"nous\"} 0.070001",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }

    #[test]
    fn open_metrics_is_for_who_prefers_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", MetricsFormat::Text),
            ("*/*", MetricsFormat::Text),
            ("text/html, */*;q=0.8", MetricsFormat::Text),
            ("text/plain", MetricsFormat::Text),
            (prometheus, MetricsFormat::OpenMetrics),
            ("application/openmetrics-text", MetricsFormat::OpenMetrics),
            (
                "Application/OpenMetrics-Text; version=\"1.0.0\"",
                MetricsFormat::OpenMetrics,
            ),
            (
                "application/openmetrics-text; version=2.0.0",
                MetricsFormat::Text,
            ),
            ("application/openmetrics-text;q=0", MetricsFormat::Text),
            (
                "application/openmetrics-text;q=0.2,text/plain;q=0.9",
                MetricsFormat::Text,
            ),
            ("application/openmetrics-text;q=x", MetricsFormat::Text),
        ] {
            let found = MetricsFormat::accepted([accept.as_bytes()].into_iter());
            assert_eq!(found, format, "{accept}");
        }
        let two = [
            &b"text/plain;q=0.1"[..],
            b"application/openmetrics-text;q=0.11",
        ];
        assert_eq!(
            MetricsFormat::accepted(two.into_iter()),
            MetricsFormat::OpenMetrics
        );
    }
}
