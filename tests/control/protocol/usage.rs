//! Usage.

use super::*;

#[test]
fn the_messages_about_usage() {
    let query = UsageQuery {
        by: UsageBy::Model,
        since: None,
        days: Some(7),
    };
    let op = Operation::Usage(query);
    golden("request_usage.json", &ControlRequest { id: 1, op });
    let sums = |requests: u64, failed: u64, tokens: u64| UsageSums {
        requests,
        failed,
        errors: [
            ("client_left", failed / 2),
            ("http_429", failed - failed / 2),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| (kind.to_owned(), count))
        .collect(),
        bytes_in: requests * 2_000,
        bytes_out: requests * 3_000,
        prompt_tokens: tokens * 9,
        completion_tokens: tokens,
        cached_tokens: tokens * 3,
        reasoning_tokens: tokens / 2,
        total_tokens: tokens * 10,
        without_tokens: requests / 100,
    };
    let row = |name: &str, requests, failed, tokens| UsageRow {
        name: name.to_owned(),
        sums: sums(requests, failed, tokens),
    };
    let report = UsageReport {
        enabled: true,
        by: UsageBy::Client,
        from: "2026-11-17".into(),
        to: "2026-11-23".into(),
        rows: vec![
            row("open-webui", 1_204, 7, 184_000),
            row("OpenAI/Python (no key)", 310, 0, 51_000),
            row("karakeep", 88, 1, 2_600),
            row("hermesctl", 3, 0, 12),
        ],
        total: sums(1_605, 8, 237_612),
        unlisted: 0,
        fault: None,
        dropped: 0,
    };
    golden("reply_usage.json", &ok(report.clone()));
    let trouble = UsageReport {
        enabled: false,
        by: UsageBy::Model,
        rows: vec![row(r"evil\u{1b}[31m", 1, 1, 0), row("", 2, 0, 7)],
        total: sums(3, 1, 7),
        unlisted: 12,
        fault: Some("/home/u/.local/state/hermes-proxyd/usage.db: disk is full".into()),
        dropped: 40,
        ..report
    };
    golden("reply_usage_trouble.json", &ok(trouble));
}
