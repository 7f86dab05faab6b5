//! Texts about a test request.

use super::view::{ProbeReport, ProbeRequest, StreamPiece};
use crate::cli::text::{Style, TextTone, inline, printable};
use crate::control::human::count;

/// How many characters of an answer are shown as its first words.
const FIRST_WORDS: usize = 200;

/// What is being asked, for who waits.
pub(in crate::cli) fn asking(asked: &ProbeRequest) -> String {
    let streamed = if asked.stream { ", streamed" } else { "" };
    format!(
        "Asking {} at {}{streamed}: {}\n",
        inline(&asked.model),
        inline(&asked.url),
        asked.question
    )
}

/// A piece of a stream as it comes.
pub(in crate::cli) fn piece(piece: &StreamPiece, _: Style) -> String {
    printable(&piece.text)
}

/// How it went.
pub(in crate::cli) fn report(report: &ProbeReport, style: Style) -> String {
    let mut text = String::new();
    if report.asked.stream && !report.text.is_empty() {
        // The stream itself is above.
        text += "\n\n";
    }
    text += &style.paint(TextTone::Good, "It works.");
    text.push('\n');
    let mut row = |label: &str, value: &str| text += &style.row("  ", label, 14, value);
    if !report.asked.stream || report.text.is_empty() {
        row("answer", &words(report));
    }
    row("model", &inline(&report.asked.model));
    row("provider", &inline(&report.asked.provider));
    row("first byte", &milliseconds(report.first_byte_ms));
    row("total", &milliseconds(report.total_ms));
    if let Some(tokens) = report.tokens {
        let (prompt, completion) = (count(tokens.prompt), count(tokens.completion));
        row(
            "tokens",
            &format!("{prompt} in the prompt, {completion} in the answer"),
        );
    }
    if let Some(id) = &report.request_id {
        row("request id", &inline(id));
    }
    text
}

fn words(report: &ProbeReport) -> String {
    let first = |text: &str| {
        let text = inline(text.trim());
        let mut words: String = text.chars().take(FIRST_WORDS).collect();
        if words.len() < text.len() {
            words.push('…');
        }
        words
    };
    if !report.text.trim().is_empty() {
        return first(&report.text);
    }
    if !report.reasoning.trim().is_empty() {
        return format!("(reasoning only) {}", first(&report.reasoning));
    }
    match &report.finish_reason {
        Some(reason) => format!("(no text; the model stopped with {:?})", inline(reason)),
        None => "(no text)".to_owned(),
    }
}

/// `412 ms`, `3.4 s`.
fn milliseconds(time: f64) -> String {
    if time < 1000.0 {
        return format!("{time:.0} ms");
    }
    format!("{:.1} s", time / 1000.0)
}
