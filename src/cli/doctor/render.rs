//! The findings of `hermesctl doctor`. Pure.

use crate::cli::text::{Style, TextTone, inline, printable};
use crate::doctor::{DoctorFinding, DoctorReport, FindingVerdict, Fix};

/// Below this width a finding's text is under its name.
const NARROW: usize = 72;
/// A name longer than this has a line of its own.
const LONGEST_NAME: usize = 24;
/// The text before a name: sign and verdict.
const MARGIN: usize = 10;
/// What comes before a fix.
const FIX: usize = MARGIN + 2;

/// The report. Lines that are to be copied are never broken.
pub(in crate::cli) fn report(report: &DoctorReport, style: Style) -> String {
    let mut text = String::new();
    let mut rest = report.findings.as_slice();
    while let Some(first) = rest.first() {
        let count = rest
            .iter()
            .take_while(|one| one.group == first.group)
            .count();
        let (group, others) = rest.split_at(count);
        text += &style.paint(TextTone::Heading, first.group.as_str());
        text.push('\n');
        text += &group_of(group, style);
        text.push('\n');
        rest = others;
    }
    text + &summary(report, style)
}

fn group_of(findings: &[DoctorFinding], style: Style) -> String {
    let names = findings.iter().map(|finding| length(&finding.name));
    let column = names.filter(|length| *length <= LONGEST_NAME).max();
    let column = column.unwrap_or_default();
    let lines = findings.iter();
    lines.map(|one| finding(one, column, style)).collect()
}

fn finding(finding: &DoctorFinding, column: usize, style: Style) -> String {
    let (sign, word, tone) = shown(finding.verdict);
    let name = inline(&finding.name);
    let verdict = style.paint(tone, &format!("{sign} {word:4}"));
    let mut text = format!("  {verdict}  ");
    let width = style.columns();
    let beside = width >= NARROW && length(&name) <= LONGEST_NAME;
    let indent = if beside { MARGIN + column + 2 } else { FIX };
    let lines = wrap(&inline(&finding.text), width.saturating_sub(indent));
    text += &name;
    let mut lines = lines.into_iter();
    if beside {
        let gap = column + 2 - length(&name);
        text += &" ".repeat(gap);
        text += &lines.next().unwrap_or_default();
    }
    text.push('\n');
    for line in lines {
        text += &indented(indent, &line);
    }
    for fix in &finding.fix {
        text += &fix_of(fix, style);
    }
    text
}

fn fix_of(fix: &Fix, style: Style) -> String {
    let (tone, lines) = match fix {
        Fix::Run(command) => (TextTone::Heading, vec![inline(command)]),
        Fix::Configure(lines) => {
            let lines = lines.iter().map(|line| inline(line)).collect();
            (TextTone::Heading, lines)
        }
        Fix::Advice(text) => {
            let lines = wrap(&printable(text), style.columns().saturating_sub(FIX));
            (TextTone::Label, lines)
        }
    };
    let painted = lines.iter().map(|line| {
        if line.is_empty() {
            return "\n".to_owned();
        }
        indented(FIX, &style.paint(tone, line))
    });
    painted.collect()
}

fn indented(indent: usize, line: &str) -> String {
    [&" ".repeat(indent), line, "\n"].concat()
}

fn summary(report: &DoctorReport, style: Style) -> String {
    let count = |verdict: FindingVerdict| {
        let of_verdict = report.findings.iter().filter(|one| one.verdict == verdict);
        of_verdict.count()
    };
    let (failures, warnings) = (count(FindingVerdict::Fail), count(FindingVerdict::Warn));
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    let (tone, text) = match (failures, warnings) {
        (0, 0) => (TextTone::Good, "All is well.".to_owned()),
        (0, warnings) => (
            TextTone::Waiting,
            format!("It works, with {}.", plural(warnings, "warning")),
        ),
        (failures, 0) => (TextTone::Bad, format!("{}.", plural(failures, "failure"))),
        (failures, warnings) => (
            TextTone::Bad,
            format!(
                "{}, {}.",
                plural(failures, "failure"),
                plural(warnings, "warning")
            ),
        ),
    };
    style.paint(tone, &text) + "\n"
}

fn shown(verdict: FindingVerdict) -> (char, &'static str, TextTone) {
    match verdict {
        FindingVerdict::Ok => ('✓', "ok", TextTone::Good),
        FindingVerdict::Info => ('·', "info", TextTone::Label),
        FindingVerdict::Skip => ('-', "skip", TextTone::Label),
        FindingVerdict::Warn => ('!', "warn", TextTone::Waiting),
        FindingVerdict::Fail => ('✗', "fail", TextTone::Bad),
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Breaks between words; a word that is longer than a line has one of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && length(&line) + 1 + length(word) > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use crate::control::protocol::FindingCode;
    use crate::doctor::{DoctorExit, FindingGroup};

    /// What works, what will not for long, and what could be set up.
    pub(in crate::cli) fn example() -> DoctorReport {
        let finding = |group, name: &str, verdict, text: &str, fix: &[Fix]| DoctorFinding {
            group,
            name: name.to_owned(),
            verdict,
            code: (name == "end of nous").then_some(FindingCode::LoginEndsSoon),
            text: text.to_owned(),
            fix: fix.to_vec(),
            stops_start: false,
        };
        let run = |command: &str| Fix::Run(command.to_owned());
        let findings = vec![
            finding(
                FindingGroup::Login,
                "nous",
                FindingVerdict::Ok,
                "The login works. Its token expires in 47 min and is renewed before then.",
                &[],
            ),
            finding(
                FindingGroup::Login,
                "end of nous",
                FindingVerdict::Warn,
                "The login ends in 3 d (2026-11-29), even if its token is renewed.",
                &[run("hermesctl auth login nous --force")],
            ),
            finding(
                FindingGroup::Containers,
                "bridge address",
                FindingVerdict::Info,
                "This way is not set up: nothing listens at docker0 (172.17.0.1).",
                &[
                    Fix::Advice("Add to /home/u/.config/hermes-proxyd/config.toml:".to_owned()),
                    Fix::Configure(vec![
                        "[[listen]]".to_owned(),
                        String::new(),
                        "address = \"docker0:8645\"".to_owned(),
                    ]),
                    run("hermesctl clients add my-app"),
                ],
            ),
        ];
        DoctorReport {
            verdict: FindingVerdict::Warn,
            findings,
            cause: DoctorExit::Nothing,
        }
    }

    #[test]
    fn a_wide_terminal_has_the_words_beside_the_names() {
        let text = report(&example(), Style::PLAIN);
        let expected = "\
login
  ✓ ok    nous         The login works. Its token expires in 47 min and is
                       renewed before then.
  ! warn  end of nous  The login ends in 3 d (2026-11-29), even if its token is
                       renewed.
            hermesctl auth login nous --force

containers
  · info  bridge address  This way is not set up: nothing listens at docker0
                          (172.17.0.1).
            Add to /home/u/.config/hermes-proxyd/config.toml:
            [[listen]]

            address = \"docker0:8645\"
            hermesctl clients add my-app

It works, with 1 warning.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_narrow_terminal_has_them_below() {
        let text = report(&example(), Style::PLAIN.in_columns(60));
        let expected = "\
login
  ✓ ok    nous
            The login works. Its token expires in 47 min and
            is renewed before then.
  ! warn  end of nous
            The login ends in 3 d (2026-11-29), even if its
            token is renewed.
            hermesctl auth login nous --force
";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_but_those_to_be_copied() {
        for width in [60, 80, 120] {
            let text = report(&example(), Style::PLAIN.in_columns(width));
            let wide = text.lines().find(|line| length(line) > width);
            assert_eq!(wide, None, "{width}");
        }
    }

    #[test]
    fn colours_change_no_word() {
        let coloured = report(&example(), Style::COLOURED);
        assert!(coloured.contains("\u{1b}[33m! warn\u{1b}[0m"), "{coloured}");
        let mut plain = String::new();
        for (number, part) in coloured.split('\u{1b}').enumerate() {
            let rest = part.split_once('m').filter(|_| number > 0);
            plain += rest.map_or(part, |(_, rest)| rest);
        }
        assert_eq!(plain, report(&example(), Style::PLAIN));
    }

    #[test]
    fn words_are_kept_whole() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(
            wrap("a /very/long/path b", 6),
            ["a", "/very/long/path", "b"]
        );
        assert_eq!(wrap("", 4), [""]);
    }
}
