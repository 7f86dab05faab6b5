use bytes::Bytes;

use super::*;

/// Reads the bytes in pieces of these sizes, repeated: how many heads, whether one is incomplete, and the violation, in
/// a head or in a body.
fn scan(bytes: &[u8], sizes: &[usize]) -> (u64, bool, Option<(Violation, bool)>) {
    let mut reader = RequestReader::new(8 * 1024);
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, later) = rest.split_at((*size).min(rest.len()));
        reader.room().extend_from_slice(piece);
        if let Err(violation) = read_all(&mut reader) {
            let refused = (violation, reader.is_in_body());
            return (reader.requests(), reader.is_in_head(), Some(refused));
        }
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    (reader.requests(), reader.is_in_head(), None)
}

/// Reads as far as the bytes reach and returns the bodies.
fn read_all(reader: &mut RequestReader) -> Result<Vec<Bytes>, Violation> {
    let mut pieces = Vec::new();
    loop {
        if reader.is_in_body() {
            match reader.body()? {
                BodyPiece::Data(data) => pieces.push(data),
                BodyPiece::Lacking => return Ok(pieces),
                BodyPiece::End => {}
            }
        } else if reader.head()?.is_none() {
            return Ok(pieces);
        }
    }
}

fn verdict(text: &str) -> Option<Violation> {
    let whole = scan(text.as_bytes(), &[usize::MAX]);
    for sizes in [&[1][..], &[2], &[3, 1], &[7], &[1, 20], &[64]] {
        assert_eq!(
            scan(text.as_bytes(), sizes),
            whole,
            "{text:?} cut at {sizes:?}"
        );
    }
    whole.2.map(|(violation, _)| violation)
}

fn head(fields: &str) -> Option<Violation> {
    verdict(&format!("POST /v1/x HTTP/1.1\r\n{fields}\r\n"))
}

fn body(chunks: &str) -> Option<Violation> {
    head(&format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"))
}

#[test]
fn a_sound_connection_passes_however_it_is_cut() {
    let text = "\r\nGET //v1//models?a=%20b HTTP/1.1\r\nHost: localhost\r\nX-A:\tb\u{e9} \r\n\r\n\
                POST /v1/x HTTP/1.1\r\nsession_id: 1\r\ncontent-length: 4\r\n\r\n\r\n\r\n\
                POST /v1/x HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
                5;a=\"b c\"\r\nab\r\nc\r\nA ; x\r\n0123456789\r\n00\r\nX-Sum: 1\r\n\r\n\
                HEAD / HTTP/1.0\r\nEmpty:\r\n\r\n";
    assert_eq!(verdict(text), None);
    assert_eq!(scan(text.as_bytes(), &[5]), (4, false, None));
}

#[test]
fn nothing_behind_an_upgrade_is_read() {
    let behind = "GET / HTTP/1.1\r\n\r\n";
    for request in [
        "GET / HTTP/1.1\r\nUpgrade: TLS/1.2\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.0\r\nupgrade:\r\n\r\n",
        "POST / HTTP/1.1\r\nUPGRADE: h2c\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ] {
        assert_eq!(verdict(request), None);
        let text = format!("{request}{behind}");
        assert_eq!(verdict(&text), Some(Violation::BehindUpgrade), "{request}");
        let mut reader = RequestReader::new(8192);
        reader.room().extend_from_slice(text.as_bytes());
        read_all(&mut reader).unwrap_err();
        assert!(!reader.is_in_body() && reader.is_unfinished() && reader.requests() == 1);
        assert_eq!(reader.waiting(), behind.len());
    }
}

#[test]
fn the_page_of_a_request_is_known_as_soon_as_it_is_named() {
    let mut reader = RequestReader::new(8192);
    for (bytes, origin) in [
        ("GET / HTTP/1.1\r\n", None),
        ("ORIGIN:  https://a.example \r\n", Some("https://a.example")),
        ("Host: a\r\n", Some("https://a.example")),
        ("\r\n", None),
        ("GET / HTTP/1.1\r\nOrigin: a\r\n", Some("a")),
        ("Origin: a\r\n", None),
    ] {
        reader.room().extend_from_slice(bytes.as_bytes());
        reader.head().unwrap();
        assert_eq!(reader.origin(), origin.map(str::as_bytes), "{bytes:?}");
    }
}

#[test]
fn a_head_has_begun_with_its_first_byte() {
    let mut reader = RequestReader::new(8 * 1024);
    for (bytes, in_head) in [
        ("\r", false),
        ("\n\r\n", false),
        ("G", true),
        ("ET / HTTP/1.1\r\n", true),
        ("Content-Length: 3\r\n\r\n", false),
        ("abc", false),
    ] {
        reader.room().extend_from_slice(bytes.as_bytes());
        read_all(&mut reader).unwrap();
        assert_eq!(reader.is_in_head(), in_head, "{bytes:?}");
    }
}

#[test]
fn a_refused_connection_stays_refused() {
    let mut reader = RequestReader::new(8192);
    reader.room().extend_from_slice(b"GET /\r\n");
    assert_eq!(reader.head().unwrap_err(), Violation::RequestLine);
    reader.room().extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(reader.head().unwrap_err(), Violation::RequestLine);
    assert!(reader.is_unfinished());
}

#[test]
fn a_head_is_handed_out_as_it_came() {
    let text = "POST /v1/x?a=%20b HTTP/1.0\r\nHost: a\r\nX-A:\tb\u{e9} \r\nx-a:\r\nExpect: 100-Continue\r\n\
                Connection: x, Keep-Alive\r\ncontent-length: 4\r\n\r\nabcdGET";
    for size in [1, 7, text.len()] {
        let mut reader = RequestReader::new(8192);
        let mut heads = Vec::new();
        let mut body = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            reader.room().extend_from_slice(piece);
            heads.extend(reader.head().unwrap());
            while let (true, BodyPiece::Data(data)) = (reader.is_in_body(), reader.body().unwrap())
            {
                body.extend_from_slice(&data);
            }
        }
        let [head] = &*heads else { panic!("{heads:?}") };
        let request = &head.head;
        assert_eq!(
            (request.method.as_str(), &request.uri),
            ("POST", &"/v1/x?a=%20b".parse().unwrap())
        );
        assert_eq!(request.version, hyper::Version::HTTP_10);
        let fields: Vec<_> = request.headers.iter().collect();
        let expected: [(&[u8], &[u8]); 6] = [
            (b"host", b"a"),
            (b"x-a", "b\u{e9}".as_bytes()),
            (b"x-a", b""),
            (b"expect", b"100-Continue"),
            (b"connection", b"x, Keep-Alive"),
            (b"content-length", b"4"),
        ];
        assert_eq!(fields, expected);
        assert_eq!(head.length, Length::Known(4));
        // HTTP/1.0 has no `100 Continue`.
        assert!(head.persists && !head.expects_continue);
        assert_eq!(body, b"abcd");
        assert_eq!(reader.waiting(), 3);
    }
}

#[test]
fn a_connection_persists_as_its_request_says() {
    for (version, fields, persists) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        (
            "1.1",
            "Connection: TE, Close\r\nConnection: keep-alive\r\n",
            false,
        ),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let mut reader = RequestReader::new(8192);
        let text = format!("GET / HTTP/{version}\r\n{fields}\r\n");
        reader.room().extend_from_slice(text.as_bytes());
        let head = reader.head().unwrap().unwrap();
        assert_eq!(head.persists, persists, "{version} {fields:?}");
    }
}

#[test]
fn a_quiet_reader_holds_no_buffer() {
    let mut reader = RequestReader::new(8192);
    assert!(reader.has_no_buffer() && reader.give_back().is_none());
    reader
        .room()
        .extend_from_slice(b"\r\nGET / HTTP/1.1\r\n\r\n\r\nG");
    drop(reader.head().unwrap().unwrap());
    assert!(reader.head().unwrap().is_none() && reader.give_back().is_none());
    reader.room().extend_from_slice(b"ET / HTTP/1.1\r\n\r\n");
    drop(reader.head().unwrap().unwrap());
    assert!(reader.give_back().is_some() && reader.has_no_buffer());
}

#[test]
fn a_head_may_be_as_large_as_the_limit_and_no_larger() {
    let line = "GET / HTTP/1.1\r\nA: ";
    for (more, violation) in [(0, None), (1, Some(Violation::LargeHead))] {
        let value = "b".repeat(8 * 1024 + more - line.len() - 4);
        assert_eq!(verdict(&format!("{line}{value}\r\n\r\n")), violation);
    }
    let endless = "a".repeat(9000);
    assert_eq!(verdict(&endless), Some(Violation::LargeHead));
}

#[test]
fn the_first_byte_that_is_wrong_counts_however_the_line_is_cut() {
    for (line, violation) in [
        ("a\0\rb: c", Violation::Control(0)),
        ("a\rb\0: c", Violation::BareCr),
        ("a: b\r", Violation::BareCr),
        ("no colon\0", Violation::Control(0)),
        ("a: b\x7f", Violation::Control(0x7f)),
    ] {
        assert_eq!(head(&format!("{line}\r\n")), Some(violation), "{line:?}");
    }
    assert_eq!(head("a: b\nc: d\r\n"), Some(Violation::BareLf));
    assert_eq!(verdict("\x16\x03\x01"), Some(Violation::Tls));
}

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused() {
    for (fields, violation) in [
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            Violation::TwoLengths,
        ),
        ("Content-Length: 5, 5\r\n", Violation::Length),
        ("Content-Length: +5\r\n", Violation::Length),
        ("Content-Length: 05\r\n", Violation::Length),
        ("Content-Length:\r\n", Violation::Length),
        (
            "Content-Length: 18446744073709551614\r\n",
            Violation::Length,
        ),
        (
            "Content-Length: 5\r\ntransfer-encoding: chunked\r\n",
            Violation::LengthAndEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nCONTENT-LENGTH: 0\r\n",
            Violation::LengthAndEncoding,
        ),
        ("Transfer-Encoding: gzip, chunked\r\n", Violation::Encoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Violation::TwoEncodings,
        ),
        ("Content_Length: 5\r\n", Violation::Shadow("content-length")),
        ("x_forwarded-for: a\r\n", Violation::Shadow("x-forwarded-")),
    ] {
        assert_eq!(head(fields), Some(violation), "{fields:?}");
    }
    let http10 = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(verdict(http10), Some(Violation::EncodingInHttp10));
}

#[test]
fn chunks_that_can_be_read_in_two_ways_are_refused() {
    for (chunks, violation) in [
        ("5\nhello\r\n0\r\n\r\n", Violation::BareLf),
        ("5\r\nhello!\r\n0\r\n\r\n", Violation::ChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", Violation::ChunkEnd),
        ("0x5\r\nhello\r\n", Violation::ChunkSize),
        ("\r\n", Violation::ChunkSize),
        ("5 \r\nhello\r\n", Violation::ChunkSize),
        ("00000000000000005\r\nhello\r\n", Violation::ChunkSize),
        ("5;a\0b\r\nhello\r\n", Violation::Control(0)),
        (
            "0\r\nContent-Length: 5\r\n\r\n",
            Violation::Trailer("content-length"),
        ),
        ("0\r\nhost: a\r\n\r\n", Violation::Trailer("host")),
        ("0\r\na\r\n\r\n", Violation::NoColon),
    ] {
        assert_eq!(body(chunks), Some(violation), "{chunks:?}");
    }
    let long = format!("5;{}\r\n", "a".repeat(300));
    assert_eq!(body(&long), Some(Violation::LongExtension));
    let many = format!("1;{}\r\na\r\n", "a".repeat(200)).repeat(100);
    assert_eq!(body(&many), Some(Violation::LongExtension));
    let large = format!("0\r\n{}", "a: b\r\n".repeat(90));
    assert_eq!(body(&large), None);
}
