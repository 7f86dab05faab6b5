use super::*;
use Violation as V;

/// The result of reading an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    interim: usize,
    status: Option<u16>,
    persists: bool,
    body: String,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Complete; this many bytes after the answer were not read.
    Whole(usize),
    /// The connection ended too early.
    Cut,
    Refused(Violation),
}

/// Reads the pieces, then the connection's end.
fn read<'p>(to_head: bool, pieces: impl IntoIterator<Item = &'p [u8]>) -> Read {
    let mut reader = AnswerReader::new(8 * 1024, to_head);
    let mut read = Read {
        interim: 0,
        status: None,
        persists: false,
        body: String::new(),
        end: End::Cut,
    };
    for piece in pieces {
        reader.room().extend_from_slice(piece);
        if let Err(violation) = step(&mut reader, &mut read) {
            assert!(
                reader.head().is_err() && reader.body().is_err(),
                "it stays refused"
            );
            assert!(!reader.is_over() && !reader.ends());
            read.end = End::Refused(violation);
            return read;
        }
    }
    if reader.is_over() || reader.ends() {
        assert!(reader.is_over());
        read.end = End::Whole(reader.waiting());
    }
    read
}

fn step(reader: &mut AnswerReader, read: &mut Read) -> Result<(), Violation> {
    while read.status.is_none() {
        let Some(head) = reader.head()? else {
            return Ok(());
        };
        if head.is_interim() {
            read.interim += 1;
        } else {
            read.status = Some(head.response.status().as_u16());
            read.persists = head.persists;
        }
    }
    while let BodyPiece::Data(data) = reader.body()? {
        read.body.push_str(std::str::from_utf8(&data).unwrap());
    }
    Ok(())
}

/// The result for an answer, which must not depend on how its bytes are cut into reads.
fn verdict(to_head: bool, text: &str) -> Read {
    let bytes = text.as_bytes();
    let whole = read(to_head, [bytes]);
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(
            read(to_head, [first, second]),
            whole,
            "{text:?} cut at {at}"
        );
    }
    assert_eq!(
        read(to_head, bytes.chunks(1)),
        whole,
        "{text:?} byte by byte"
    );
    whole
}

/// `|` ends a line.
fn lines(text: &str) -> String {
    text.replace('|', "\r\n")
}

/// An answer, its body, how it ends, and whether its connection may serve another request.
const ENDS: [(&str, &str, End, bool); 25] = [
    // known lengths
    (
        "HTTP/1.1 200 OK|content-length: 5||hello",
        "hello",
        End::Whole(0),
        true,
    ),
    (
        "HTTP/1.1 200 OK|Content-Length: 5||hello|HTTP",
        "hello",
        End::Whole(6),
        true,
    ),
    ("HTTP/1.1 200|Content-Length: 0||", "", End::Whole(0), true),
    (
        "HTTP/1.1 200 |Content-Length: 5|content-length: 5, 5||hello",
        "hello",
        End::Whole(0),
        true,
    ),
    (
        "HTTP/1.1 500 Très mal|content-length: 5|connection: close||hello",
        "hello",
        End::Whole(0),
        false,
    ),
    (
        "HTTP/1.0 200 OK|content-length: 5||hello",
        "hello",
        End::Whole(0),
        false,
    ),
    (
        "HTTP/1.0 200 OK|content-length: 5|Connection: Keep-Alive||hello",
        "hello",
        End::Whole(0),
        true,
    ),
    (
        "HTTP/1.1 200 OK|content-length: 5||hell",
        "hell",
        End::Cut,
        true,
    ),
    // chunks, whose trailers are dropped
    (
        "HTTP/1.1 200 OK|Transfer-Encoding: Chunked||5;a=\"b\"|hello|A|0123456789|0|x-sum: 1|content-length: 3||",
        "hello0123456789",
        End::Whole(0),
        true,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||0||",
        "",
        End::Whole(0),
        true,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||5|hello|0|",
        "hello",
        End::Cut,
        true,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||5|hello|",
        "hello",
        End::Cut,
        true,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||5|hel",
        "hel",
        End::Cut,
        true,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||5|hello|0||x",
        "hello",
        End::Whole(1),
        true,
    ),
    // up to the end of the connection
    ("HTTP/1.1 200 OK||hello", "hello", End::Whole(0), false),
    ("HTTP/1.0 200 OK||", "", End::Whole(0), false),
    // no body, whatever the head says
    (
        "HTTP/1.1 204 No Content|content-length: 5||",
        "",
        End::Whole(0),
        true,
    ),
    (
        "HTTP/1.1 304 Not Modified|content-length: 5|transfer-encoding: chunked||",
        "",
        End::Whole(0),
        true,
    ),
    ("HTTP/1.1 204 No Content||hello", "", End::Whole(5), true),
    (
        "HTTP/1.1 101 Switching Protocols|upgrade: x||more",
        "",
        End::Whole(4),
        false,
    ),
    // interim answers before it
    (
        "||HTTP/1.1 200 OK|content-length: 0||",
        "",
        End::Whole(0),
        true,
    ),
    (
        "HTTP/1.1 100 Continue||HTTP/1.1 103 Early|content-length: 9||HTTP/1.1 200 OK|content-length: 1||a",
        "a",
        End::Whole(0),
        true,
    ),
    // not an answer
    ("", "", End::Cut, false),
    ("HTTP/1.1 200 OK|content-le", "", End::Cut, false),
    ("HTTP/1.1 103 Early Hints||", "", End::Cut, false),
];

#[test]
fn an_answer_ends_where_its_head_says() {
    for (text, body, end, persists) in ENDS {
        let text = lines(text);
        let read = verdict(false, &text);
        assert_eq!((read.body.as_str(), read.end), (body, end), "{text:?}");
        assert_eq!(read.persists, persists, "{text:?}");
    }
    let early = verdict(
        false,
        &lines("HTTP/1.1 100 Continue||HTTP/1.1 102 P||HTTP/1.1 200 OK||"),
    );
    assert_eq!((early.interim, early.status), (2, Some(200)));
}

#[test]
fn an_answer_to_head_has_no_body() {
    for fields in ["content-length: 5|", "transfer-encoding: chunked|", ""] {
        let read = verdict(true, &lines(&format!("HTTP/1.1 200 OK|{fields}|")));
        assert_eq!((read.end, read.persists), (End::Whole(0), true), "{fields}");
    }
}

/// Answers that are refused, and why.
const REFUSED: [(&str, V); 36] = [
    ("HTTP/1.1 200 OK\n", V::BareLf),
    ("HTTP/1.1 200 OK|a: b\n", V::BareLf),
    ("HTTP/1.1 200 OK|a: b\rc: d|", V::BareCr),
    ("HTTP/1.1 200 OK|a: \0|", V::Control(0)),
    ("HTTP/2 200 OK|", V::StatusLine),
    ("HTTP/0.9 200 OK|", V::StatusLine),
    ("http/1.1 200 OK|", V::StatusLine),
    ("HTTP/1.1  200 OK|", V::StatusLine),
    ("HTTP/1.1 20 OK|", V::StatusLine),
    ("HTTP/1.1 2000 OK|", V::StatusLine),
    ("HTTP/1.1 099 OK|", V::StatusLine),
    ("HTTP/1.1 2x0 OK|", V::StatusLine),
    ("SSH-2.0-OpenSSH_9.9|", V::StatusLine),
    ("|||||", V::EmptyLines),
    ("HTTP/1.1 200 OK| folded: a|", V::Folded),
    ("HTTP/1.1 200 OK|a b: c|", V::FieldName),
    ("HTTP/1.1 200 OK|a : c|", V::SpaceBeforeColon),
    ("HTTP/1.1 200 OK|: c|", V::FieldName),
    ("HTTP/1.1 200 OK|none|", V::NoColon),
    (
        "HTTP/1.1 200 OK|content-length: 1|content-length: 2||",
        V::TwoLengths,
    ),
    ("HTTP/1.1 200 OK|content-length: 1, 2||", V::TwoLengths),
    ("HTTP/1.1 200 OK|content-length: -1||", V::Length),
    ("HTTP/1.1 200 OK|content-length: 01||", V::Length),
    ("HTTP/1.1 200 OK|content-length: 1,||", V::Length),
    ("HTTP/1.1 200 OK|content-length:||", V::Length),
    (
        "HTTP/1.1 200 OK|content-length: 18446744073709551615||",
        V::Length,
    ),
    (
        "HTTP/1.1 200 OK|content-length: 5|transfer-encoding: chunked||",
        V::LengthAndEncoding,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: gzip, chunked||",
        V::Encoding,
    ),
    ("HTTP/1.1 200 OK|transfer-encoding: identity||", V::Encoding),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked|transfer-encoding: chunked||",
        V::TwoEncodings,
    ),
    (
        "HTTP/1.0 200 OK|transfer-encoding: chunked||",
        V::EncodingInHttp10,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||x|",
        V::ChunkSize,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||5\nhello",
        V::BareLf,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||5|hello!",
        V::ChunkEnd,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||11111111111111111|",
        V::ChunkSize,
    ),
    (
        "HTTP/1.1 200 OK|transfer-encoding: chunked||0|a|",
        V::NoColon,
    ),
];

#[test]
fn an_answer_that_can_be_read_in_two_ways_or_in_none_is_refused() {
    for (text, violation) in REFUSED {
        let text = lines(text);
        assert_eq!(
            verdict(false, &text).end,
            End::Refused(violation),
            "{text:?}"
        );
    }
    let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(8 * 1024));
    assert_eq!(
        read(false, [large.as_bytes()]).end,
        End::Refused(V::LargeHead)
    );
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert_eq!(
        read(false, [many.as_bytes()]).end,
        End::Refused(V::ManyFields)
    );
    let trailers = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}\r\n",
        "a: b\r\n".repeat(100)
    );
    assert_eq!(
        read(false, [trailers.as_bytes()]).end,
        End::Refused(V::ManyFields)
    );
}

#[test]
fn what_only_a_server_could_mistake_passes() {
    let text = lines(
        "HTTP/1.1 200 OK|content_length: 9|X_Forwarded_For: a|set-cookie: a=b|set-cookie: c||",
    );
    let mut reader = AnswerReader::new(8 * 1024, false);
    reader.room().extend_from_slice(text.as_bytes());
    let head = reader.head().unwrap().unwrap();
    let fields: Vec<_> = head.response.headers().iter().collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    assert_eq!(
        fields,
        [
            "content_length: 9",
            "x_forwarded_for: a",
            "set-cookie: a=b",
            "set-cookie: c"
        ]
    );
}

#[test]
fn a_quiet_reader_holds_no_buffer() {
    let mut reader = AnswerReader::new(8192, false);
    assert!(reader.has_no_buffer() && reader.give_back().is_none());
    let head = lines("HTTP/1.1 200 OK|transfer-encoding: chunked||5|hello");
    reader.room().extend_from_slice(head.as_bytes());
    drop(reader.head().unwrap().unwrap());
    assert!(reader.give_back().is_none());
    drop(reader.body().unwrap());
    assert!(reader.give_back().is_some() && reader.has_no_buffer());
    reader.lend(BytesMut::with_capacity(64));
    reader.room().extend_from_slice(b"\r\n3\r\nyou");
    assert!(matches!(reader.body(), Ok(BodyPiece::Data(data)) if data == "you"));
}
