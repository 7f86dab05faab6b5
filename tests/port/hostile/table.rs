//! The tables: see `README.md` beside this file.

use std::path::Path;

use support::chat;

/// One request, or several on one connection.
#[derive(Debug)]
pub(crate) struct Row {
    pub name: String,
    pub number: usize,
    pub pieces: Vec<Piece>,
    pub expected: Vec<Expected>,
    pub upstream: Whole,
    pub lacks: Vec<String>,
    pub has: Vec<String>,
    /// Answers have no body.
    pub is_head: bool,
}

#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    Pause,
}

#[derive(Debug)]
pub(crate) enum Expected {
    /// A status, and of an error of ours its code and words of its message.
    Answer(u16, Option<String>, Option<String>),
    /// Any error of ours.
    Refused,
    Closed,
}

/// The requests that the provider must have seen.
#[derive(Debug)]
pub(crate) enum Whole {
    These(Vec<String>),
    /// One may have begun.
    None,
}

/// Reads a group.
pub(crate) fn read(name: &str) -> Vec<Row> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let text = std::fs::read_to_string(root.join(format!("{name}.txt"))).expect("a table");
    let mut rows = Vec::new();
    for section in text.split("\n== ") {
        let section = section.strip_prefix("== ").unwrap_or(section);
        read_section(section, &mut rows);
    }
    rows
}

/// Whether a request that the provider saw belongs to this row, as far as it says.
pub(crate) fn is_of_row(target: &str, number: usize) -> bool {
    let named = target
        .split_once("?row=")
        .or_else(|| target.split_once("?good="));
    named.is_none_or(|(_, digits)| digits.parse() == Ok(number))
}

fn read_section(section: &str, rows: &mut Vec<Row>) {
    let (settings, text) = section.split_once("\nsend\n").expect("`send`");
    let text = text.trim_end_matches('\n');
    let mut settings = settings.lines();
    let title = settings.next().expect("a name");
    let settings: Vec<(&str, &str)> = settings
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .collect();
    let all = |key: &str| {
        let found = settings.iter().filter(|(name, _)| *name == key);
        found.map(|(_, value)| *value).collect::<Vec<_>>()
    };
    for (name, _) in &settings {
        let known = ["with", "expect", "upstream", "lacks", "has"];
        assert!(known.contains(name), "{title}: {name}");
    }
    let mut values = all("with");
    let named = !values.is_empty();
    if !named {
        values.push("{}");
    }
    for value in values {
        let value = value
            .strip_suffix('\\')
            .filter(|rest| !rest.ends_with('\\'))
            .unwrap_or(value);
        let number = rows.len();
        let pieces = render(text, value, number);
        let upstream = all("upstream");
        let these = upstream.iter().map(|line| line.replace("{}", value));
        let start = pieces.iter().find_map(|piece| match piece {
            Piece::Bytes(bytes) => Some(bytes.starts_with(b"HEAD ")),
            Piece::Pause => None,
        });
        rows.push(Row {
            name: if named {
                format!("{title} [{}]", value.chars().take(60).collect::<String>())
            } else {
                title.to_owned()
            },
            number,
            pieces,
            expected: expected(all("expect")[0]),
            upstream: if upstream == ["incomplete"] {
                Whole::None
            } else {
                Whole::These(these.collect())
            },
            lacks: all("lacks").into_iter().map(str::to_owned).collect(),
            has: all("has").into_iter().map(str::to_owned).collect(),
            is_head: start.unwrap_or_default(),
        });
    }
}

fn expected(text: &str) -> Vec<Expected> {
    text.split(" then ")
        .map(|one| match one {
            "closed" => Expected::Closed,
            "refused" => Expected::Refused,
            _ => {
                let mut words = one.splitn(3, ' ');
                let status = words.next().and_then(|status| status.parse().ok());
                let code = words.next().map(str::to_owned);
                Expected::Answer(
                    status.expect("a status"),
                    code,
                    words.next().map(str::to_owned),
                )
            }
        })
        .collect()
}

/// The bytes of a row.
fn render(text: &str, value: &str, number: usize) -> Vec<Piece> {
    let whole = format!("\n{text}").contains("\n\n");
    let open = text.ends_with('\\') && !text.ends_with("\\\\");
    let mut joined = String::new();
    for line in text.split('\n') {
        let whole_line = line.strip_suffix('\\').filter(|rest| !rest.ends_with('\\'));
        joined.push_str(whole_line.unwrap_or(line));
        if whole_line.is_none() {
            joined.push_str("\\r\\n");
        }
    }
    if whole && !open {
        joined.truncate(joined.len() - 4);
    } else if !open {
        joined.push_str("\\r\\n");
    }
    let joined = joined.replace("{}", value);
    let mut pieces = vec![Piece::Bytes(Vec::new())];
    expand(&joined, number, &mut pieces);
    pieces
}

/// Escapes and braces.
fn expand(text: &str, number: usize, pieces: &mut Vec<Piece>) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let used = match first {
            '\\' => escape(rest, pieces),
            '{' => braces(rest, number, pieces),
            _ => 0,
        };
        if used == 0 {
            let mut utf8 = [0; 4];
            push(pieces, first.encode_utf8(&mut utf8).as_bytes());
            rest = &rest[first.len_utf8()..];
        } else {
            rest = &rest[used..];
        }
    }
}

fn escape(text: &str, pieces: &mut Vec<Piece>) -> usize {
    let second = text.as_bytes().get(1).expect("an escape");
    let byte = match second {
        b'r' => b'\r',
        b'n' => b'\n',
        b't' => b'\t',
        b's' => b' ',
        b'0' => 0,
        b'\\' => b'\\',
        b'x' => {
            let byte = u8::from_str_radix(&text[2..4], 16).expect("two digits");
            push(pieces, &[byte]);
            return 4;
        }
        b'p' => {
            pieces.push(Piece::Pause);
            pieces.push(Piece::Bytes(Vec::new()));
            return 2;
        }
        other => panic!("\\{} is no escape: {text}", char::from(*other)),
    };
    push(pieces, &[byte]);
    2
}

fn braces(text: &str, number: usize, pieces: &mut Vec<Piece>) -> usize {
    let Some(end) = matching(text) else { return 0 };
    let inside = &text[1..end];
    if let Some((count, what)) = inside.split_once('*')
        && let Ok(count) = count.parse::<usize>()
    {
        for _ in 0..count {
            expand(what, number, pieces);
        }
        return end + 1;
    }
    let json = chat("x").to_string();
    let (first, second) = json.split_at(10);
    let smuggled = "GET /v1/models?smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let replaced = match inside {
        "get" => "GET /v1/models HTTP/1.1\r\nHost: localhost".to_owned(),
        "post" => format!(
            "POST /v1/chat/completions?row={number} HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json"
        ),
        "json" => json,
        "json:1" => first.to_owned(),
        "json:2" => second.to_owned(),
        "length" => json.len().to_string(),
        "length:x" => format!("{:x}", json.len()),
        "length:X" => format!("{:X}", json.len()),
        "pad" => " ".repeat(65_536 - json.len()),
        "smuggled" => smuggled.to_owned(),
        "smuggled:length" => smuggled.len().to_string(),
        "smuggled:x" => format!("{:x}", smuggled.len()),
        _ => return 0,
    };
    push(pieces, replaced.as_bytes());
    end + 1
}

/// Where the brace closes with which the text begins.
fn matching(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    })
}

fn push(pieces: &mut [Piece], bytes: &[u8]) {
    if let Some(Piece::Bytes(last)) = pieces.last_mut() {
        last.extend_from_slice(bytes);
    }
}
