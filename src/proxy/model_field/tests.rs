use proptest::prelude::*;
use serde_json::Value;

use super::requested::LONGEST_NAME;
use super::*;

/// Reads a body in pieces of this size.
fn scan(body: &[u8], size: usize) -> Result<RequestedModel, AmbiguousModel> {
    let mut scanner = Scanner::default();
    for piece in body.chunks(size.max(1)) {
        scanner.read(piece)?;
    }
    scanner.finish().cloned()
}

fn replaced(body: &[u8], model: &RequestedModel, name: &str) -> Vec<u8> {
    let (place, text) = model.replacement(name);
    let at = |place: u64| usize::try_from(place).unwrap();
    let mut new = body[..at(place.start)].to_vec();
    new.extend(text.as_bytes());
    new.extend(&body[at(place.end)..]);
    new
}

#[test]
fn the_model_is_found_wherever_it_stands() {
    let long = format!(
        r#"{{"messages":[{{"content":"{}"}}],"model":"m"}}"#,
        "x".repeat(1 << 20)
    );
    for (body, name) in [
        (r#"{"model":"m"}"#, Some("m")),
        (" \r\n\t{ \"model\" : \"m\" , \"a\" : 1 } \n", Some("m")),
        (r#"{"mod\u0065l":"m"}"#, Some("m")),
        (r#"{"\u006d\u006f\u0064\u0065\u006c":"m"}"#, Some("m")),
        (r#"{"model":"a\/b\u00e9\"\\"}"#, Some("a/bé\"\\")),
        (r#"{"model":"\ud83d\ude00"}"#, Some("😀")),
        (
            r#"{"a":{"model":"x","b":[{"model":"y"}]},"model":"m"}"#,
            Some("m"),
        ),
        (r#"{"a":"\"model\":\"x\"","model":"m"}"#, Some("m")),
        (r#"{"a":"\\","model":"m"}"#, Some("m")),
        (
            r#"{"models\u0000":1,"mode\u0000l":2,"model":"m"}"#,
            Some("m"),
        ),
        (r#"{"größe":1,"model":"m"}"#, Some("m")),
        (
            r#"{"a":[],"b":{},"c":-1.5e+9,"d":true,"e":null,"model":"m"}"#,
            Some("m"),
        ),
        (
            r#"{"models":"x","mode":"y","model ":"z","":"","model":"m"}"#,
            Some("m"),
        ),
        (r#"{"model":""}"#, None),
        (r#"{"model":null}"#, None),
        (r#"{"model": null ,"a":1}"#, None),
        (r#"{"a":{"model":"x"}}"#, None),
        ("{}", None),
        (" { } ", None),
        (&long, Some("m")),
    ] {
        for size in [1, 2, 3, 7, body.len()] {
            let model = scan(body.as_bytes(), size).unwrap();
            let shown = body.get(..60).unwrap_or(body);
            assert_eq!(model.name(), name, "{shown} by {size}");
            let new = replaced(body.as_bytes(), &model, "n/\"1");
            let mut expected: Value = serde_json::from_str(body).unwrap();
            expected["model"] = "n/\"1".into();
            let new: Value = serde_json::from_slice(&new).unwrap();
            assert!(new == expected, "{shown} by {size}");
        }
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for (body, flaw) in [
        (&br#"{"model":"a","model":"b"}"#[..], AmbiguousModel::Twice),
        (
            br#"{"model":"a","x":[1],"mod\u0065l":"b"}"#,
            AmbiguousModel::Twice,
        ),
        (br#"{"model":null,"model":"b"}"#, AmbiguousModel::Twice),
        (br#"{"Model":"a"}"#, AmbiguousModel::Spelling),
        (br#"{"model":"a","MODEL":"b"}"#, AmbiguousModel::Spelling),
        (br#"{"\u004dodel":"a"}"#, AmbiguousModel::Spelling),
        (br#"{"model":1}"#, AmbiguousModel::NotText),
        (br#"{"model":nul}"#, AmbiguousModel::NotText),
        (br#"{"model":nulll}"#, AmbiguousModel::NotText),
        (br#"{"model":true}"#, AmbiguousModel::NotText),
        (br#"{"model":["a"]}"#, AmbiguousModel::NotText),
        (br#"{"model":{"a":1}}"#, AmbiguousModel::NotText),
        (br#"{"model":"\ud800"}"#, AmbiguousModel::NotText),
        (b"{\"model\":\"\xff\"}", AmbiguousModel::NotText),
        (b"{\"model\":\"a\nb\"}", AmbiguousModel::NotText),
        (b"\xef\xbb\xbf{\"model\":\"a\"}", AmbiguousModel::Encoding),
        (b"\xff\xfe{\0", AmbiguousModel::Encoding),
        (b"\xfe\xff\0{", AmbiguousModel::Encoding),
        (b"\0{\0\"", AmbiguousModel::Encoding),
        (b"{\0\"\0m\0", AmbiguousModel::NotJson),
        (b"[{\"model\":\"a\"}]", AmbiguousModel::NotAnObject),
        (b"\"model\"", AmbiguousModel::NotAnObject),
        (b"model=a", AmbiguousModel::NotAnObject),
        (b"--boundary\r\n", AmbiguousModel::NotAnObject),
        (b"", AmbiguousModel::NotAnObject),
        (b"  ", AmbiguousModel::NotAnObject),
        (br#"{model:"a"}"#, AmbiguousModel::NotJson),
        (br#"{'model':"a"}"#, AmbiguousModel::NotJson),
        (br#"{"a":'"',"model":"b"}"#, AmbiguousModel::NotJson),
        (br#"{/*"*/"model":"a"}"#, AmbiguousModel::NotJson),
        (br#"{"a":[1/*"*/],"model":"a"}"#, AmbiguousModel::NotJson),
        (br#"{"a":1,}"#, AmbiguousModel::NotJson),
        (br#"{,"model":"a"}"#, AmbiguousModel::NotJson),
        (br#"{"model" "a"}"#, AmbiguousModel::NotJson),
        (br#"{"model":"a"}{"model":"b"}"#, AmbiguousModel::NotJson),
        (br#"{"\x":1}"#, AmbiguousModel::NotJson),
        (b"{\"model\\u0000\":\"a\"}", AmbiguousModel::Spelling),
        (b"{\"model\0\":\"a\"}", AmbiguousModel::Spelling),
        (
            b"{\"MODEL\\u0000 and much more than matters to anyone\":1}",
            AmbiguousModel::Spelling,
        ),
        (
            br#"{"\u006d\u006f\u0064\u0065\u006c\u0000 and more":"a","model":"b"}"#,
            AmbiguousModel::Spelling,
        ),
        (b"{\"a\":1,\"model\xff\":\"b\"}", AmbiguousModel::Encoding),
        (b"{\"\xc3\":1,\"model\":\"b\"}", AmbiguousModel::Encoding),
        (br#"{"a":1"#, AmbiguousModel::Incomplete),
        (br#"{"a"#, AmbiguousModel::Incomplete),
    ] {
        for size in [1, 2, 5, 1000] {
            let shown = String::from_utf8_lossy(body);
            assert_eq!(scan(body, size), Err(flaw), "{shown} by {size}");
        }
    }
    let named = |length: usize| {
        let body = format!("{{\"model\":\"{}\"}}", "x".repeat(length));
        scan(body.as_bytes(), 1000)
    };
    assert_eq!(named(LONGEST_NAME + 1), Err(AmbiguousModel::TooLong));
    assert!(named(LONGEST_NAME).is_ok());
}

#[test]
fn a_nesting_that_no_server_reads_is_refused_at_its_first_level_too_many() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |levels| {
            let (open, close) = (open.repeat(levels), close.repeat(levels));
            format!("{{\"x\":{open}1{close},\"model\":\"m\"}}").into_bytes()
        };
        for size in [1, 7, 100_000] {
            assert!(scan(&nested(512), size).is_ok());
            assert_eq!(scan(&nested(513), size), Err(AmbiguousModel::TooDeep));
        }
        let mut scanner = Scanner::default();
        let endless = format!("{{\"x\":{}", open.repeat(513));
        assert_eq!(
            scanner.read(endless.as_bytes()),
            Err(AmbiguousModel::TooDeep)
        );
    }
}

#[test]
fn the_model_is_known_as_soon_as_it_has_come() {
    let mut scanner = Scanner::default();
    scanner.read(br#"{"model":"m"#).unwrap();
    assert_eq!(scanner.model(), None);
    scanner.read(br#"""#).unwrap();
    assert_eq!(
        scanner.model(),
        Some(&RequestedModel::Named("m".into(), 9..12))
    );
    scanner.read(br#","messages":["model"#).unwrap();
    assert_eq!(
        scanner.read(br#""],"model":"n"}"#),
        Err(AmbiguousModel::Twice)
    );
}

/// JSON as serde writes it, and with more blanks and escapes than it would.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((text(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("model".to_owned()),
        "[a-z\"\\\\{}\\[\\],:/ \n]{0,12}",
        any::<String>(),
    ]
}

const PARTS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"model",
    b"\"model\"",
    b"\"model\":\"a\"",
    b"\"mod\\u0065l\"",
    b"\"b\"",
    b" ",
    b"\n",
    b"null",
    b"1",
    b"'",
    b"/*",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\0",
    b"\\u00",
    b"65",
];

proptest! {
    /// For every body that serde reads, we read the same model, and change nothing else.
    #[test]
    fn what_serde_reads_we_read(value in json(), name in text(), size in 1_usize..40) {
        for body in [value.to_string(), format!(" {value:#}\n")] {
            let found = scan(body.as_bytes(), size);
            let Value::Object(object) = &value else {
                prop_assert!(found.is_err());
                continue;
            };
            let spelled = |key: &String| key != "model" && key.eq_ignore_ascii_case("model");
            match (object.get("model"), found) {
                _ if object.keys().any(spelled) => {}
                (None, Ok(model)) => {
                    let is_missing = matches!(model, RequestedModel::Missing { .. });
                    prop_assert!(is_missing);
                    let new = replaced(body.as_bytes(), &model, &name);
                    let new: Value = serde_json::from_slice(&new).unwrap();
                    let mut expected = value.clone();
                    expected["model"] = name.clone().into();
                    prop_assert_eq!(new, expected);
                }
                (Some(Value::String(text)), Ok(model)) => {
                    prop_assert_eq!(model.name().unwrap_or_default(), text);
                    let (place, _) = model.replacement("");
                    let at = |place: u64| usize::try_from(place).unwrap();
                    let place = at(place.start)..at(place.end);
                    let standing = body.as_bytes().get(place).unwrap();
                    let standing: String = serde_json::from_slice(standing).unwrap();
                    prop_assert_eq!(&standing, text);
                    let new = replaced(body.as_bytes(), &model, &name);
                    let new: Value = serde_json::from_slice(&new).unwrap();
                    let mut expected = value.clone();
                    expected["model"] = name.clone().into();
                    prop_assert_eq!(new, expected);
                }
                (Some(Value::Null), Ok(model)) => {
                    let is_empty = matches!(model, RequestedModel::Empty(_));
                    prop_assert!(is_empty);
                }
                (Some(_), found) => prop_assert_eq!(found, Err(AmbiguousModel::NotText)),
                (None, Err(flaw)) => prop_assert!(false, "{flaw:?}: {body}"),
            }
        }
    }

    /// For any bytes: where we find a model and serde finds one object, it is the same.
    #[test]
    fn no_bytes_are_read_in_two_ways(
        parts in proptest::collection::vec(proptest::sample::select(PARTS.to_vec()), 0..14),
        size in 1_usize..9,
    ) {
        let body = parts.concat();
        let found = scan(&body, size);
        prop_assert_eq!(&found, &scan(&body, 1), "pieces make no difference");
        let by_serde = serde_json::from_slice::<serde_json::Map<String, Value>>(&body);
        if let (Ok(model), Ok(object)) = (found, by_serde) {
            let text = object.get("model").and_then(Value::as_str).unwrap_or_default();
            prop_assert_eq!(model.name().unwrap_or_default(), text);
        }
    }
}
