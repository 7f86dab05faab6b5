//! Texts about the service, and the steps of a command.

use std::fmt::Write as _;

use super::view::{ServiceJson, ServiceReport, StepLine, Uninstalled};
use crate::cli::text::{Style, TextTone, inline, printable};

/// The column of a step's words, after its result.
const RESULT: usize = 9;

/// A step as a line, with a second one for what is to be done about it.
pub(in crate::cli) fn line(line: &StepLine, style: Style) -> String {
    let tone = match line.result {
        "done" => TextTone::Good,
        "already" => TextTone::Label,
        _ => TextTone::Waiting,
    };
    let word = if line.result == "left" {
        "skipped"
    } else {
        line.result
    };
    let result = style.paint(tone, &format!("{word:<RESULT$}"));
    let mut text = style.beside(&result, &inline(&line.what));
    if let Some(advice) = &line.advice {
        text += &style.row("", "", RESULT, &inline(advice));
    }
    text
}

/// The steps, and how the service is now.
pub(in crate::cli) fn report(report: &ServiceReport, style: Style) -> String {
    let steps = report.steps.iter().map(|step| line(step, style));
    let mut text: String = steps.collect();
    if let Some(status) = &report.service.status {
        let _written = writeln!(text, "{}", inline(status));
    }
    text
}

/// What was taken away, and what was not.
pub(in crate::cli) fn uninstalled(report: &Uninstalled, style: Style) -> String {
    let mut text: String = report.steps.iter().map(|step| line(step, style)).collect();
    if report.steps.is_empty() {
        text += &style.prose("The service was not installed; nothing has changed.");
    }
    text += &style.prose("Your login is kept; `hermesctl auth logout` removes it.");
    for path in &report.kept {
        text += &style.prose(&format!("{} is kept.", inline(path)));
    }
    text
}

/// How the service is.
pub(in crate::cli) fn status(service: &ServiceJson, style: Style) -> String {
    let mut text = String::new();
    let mut row = |label: &str, value: &str| text += &style.row("", label, 12, value);
    let manager = match service.manager {
        "systemd" => "systemd",
        "launchd" => "launchd",
        _ => "Task Scheduler",
    };
    let file = service.file.as_deref().map_or_else(
        || "not installed; `hermesctl service install` installs it".to_owned(),
        |file| format!("{manager}, {}", inline(file)),
    );
    row("service", &file);
    if let Some(pid) = service.other_pid {
        let word = format!("hermes-proxyd runs as process {pid}, but not as the service");
        row("beside it", &word);
    }
    if service.installed {
        row("starts", &starts(service));
        row("state", &state(service, style));
        if let Some(status) = &service.status {
            row("says", &inline(status));
        }
        if service.socket == Some(true) {
            row("port", "held by systemd, even while the service restarts");
        }
        row("log", &inline(&service.log_command));
    }
    text
}

fn starts(service: &ServiceJson) -> String {
    let when = match (service.enabled, service.linger) {
        (false, _) => "not automatically; `hermesctl service install` changes that",
        (true, Some(true)) => "at boot and keeps running after logout",
        (true, Some(false)) => {
            "at login and stops when you log out; `loginctl enable-linger` changes that"
        }
        (true, None) => "at login",
    };
    when.to_owned()
}

fn state(service: &ServiceJson, style: Style) -> String {
    if let Some(pid) = service.pid {
        let since = service.since.map(|since| format!(" since {since}"));
        let running = style.paint(TextTone::Good, "running");
        return format!("{running}, process {pid}{}", since.unwrap_or_default());
    }
    let stopped = style.paint(TextTone::Bad, "not running");
    match &service.last_failure {
        Some(failure) => format!("{stopped}: {}", printable(failure)),
        None => format!("{stopped}; `hermesctl service start` starts it"),
    }
}
