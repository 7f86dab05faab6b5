//! Forms as clients send them, and ambiguous ones.

use proptest::prelude::*;

use super::*;

const KIND: &str = "multipart/form-data; boundary=XyZ";

fn scan(body: &[u8], size: usize) -> Result<RequestedModel, AmbiguousModel> {
    let mut form = FormSearch::new(&Boundary::of(KIND).unwrap());
    for piece in body.chunks(size.max(1)) {
        form.read(piece)?;
    }
    form.finish().cloned()
}

fn part(head: &str, value: &str) -> String {
    format!("--XyZ\r\n{head}\r\n\r\n{value}\r\n")
}

fn field(name: &str, value: &str) -> String {
    part(
        &format!("Content-Disposition: form-data; name={name}"),
        value,
    )
}

fn replaced(body: &str, model: &RequestedModel, name: &str) -> String {
    let (place, text) = Boundary::of(KIND).unwrap().replacement(model, name);
    let at = |place: u64| usize::try_from(place).unwrap();
    format!(
        "{}{text}{}",
        body.get(..at(place.start)).unwrap(),
        body.get(at(place.end)..).unwrap()
    )
}

#[test]
fn the_model_is_the_part_of_that_name_wherever_it_stands() {
    let file = part(
        "Content-Disposition: form-data; name=\"file\"; filename=\"a;\\\"b.wav\"\r\nContent-Type: audio/wav",
        "RIFF\r\n--XyY\r\n\0name=\"model\"\r\n\r\nx",
    );
    let end = "--XyZ--\r\n";
    for (body, name, new) in [
        (
            field("\"model\"", "m") + end,
            Some("m"),
            field("\"model\"", "n") + end,
        ),
        (
            file.clone() + &field("model", "m/é") + end,
            Some("m/é"),
            file.clone() + &field("model", "n") + end,
        ),
        (
            field("\"model\"", "") + &file + "--XyZ--",
            None,
            field("\"model\"", "n") + &file + "--XyZ--",
        ),
        (
            file.clone() + end,
            None,
            field("\"model\"", "n") + &file + end,
        ),
    ] {
        for size in [1, 2, 3, 7, body.len()] {
            let model = scan(body.as_bytes(), size).unwrap();
            assert_eq!(model.name(), name, "{body} by {size}");
            assert_eq!(replaced(&body, &model, "n"), new, "by {size}");
        }
    }
}

#[test]
fn what_parsers_read_in_two_ways_is_refused() {
    let m = field("\"model\"", "m");
    let of = |head: &str| part(head, "m") + "--XyZ--";
    let disposition = "Content-Disposition: form-data; name=\"model\"";
    for (body, flaw) in [
        (format!("{m}{m}--XyZ--"), AmbiguousModel::Twice),
        (format!("preamble\r\n{m}--XyZ--"), AmbiguousModel::NotAForm),
        (m.replace("\r\n", "\n"), AmbiguousModel::NotAForm),
        (
            m.replace("--XyZ\r\n", "--XyZ \r\n"),
            AmbiguousModel::NotAForm,
        ),
        (format!("{m}--XyZ--\r\n{m}"), AmbiguousModel::NotAForm),
        (
            field("\"a\"", "x\n--XyZ\ny") + "--XyZ--",
            AmbiguousModel::NotAForm,
        ),
        (of("Content-Type: text/plain"), AmbiguousModel::NotAForm),
        (
            of(&format!("{disposition}\r\n{disposition}")),
            AmbiguousModel::NotAForm,
        ),
        (
            of(&format!("{disposition}\r\n folded")),
            AmbiguousModel::NotAForm,
        ),
        (
            of(&format!("{disposition}; name=\"a\"")),
            AmbiguousModel::Spelling,
        ),
        (
            of(&format!("{disposition}; name*=utf-8''a")),
            AmbiguousModel::Spelling,
        ),
        (
            of(&format!("{disposition}; filename=\"a\"")),
            AmbiguousModel::NotText,
        ),
        (
            of(&format!("{disposition}\r\nContent-Type: application/json")),
            AmbiguousModel::NotText,
        ),
        (
            of(&format!(
                "{disposition}\r\nContent-Transfer-Encoding: base64"
            )),
            AmbiguousModel::NotText,
        ),
        (
            field("\"Model\"", "m") + "--XyZ--",
            AmbiguousModel::Spelling,
        ),
        (
            field("\"mo\\del\"", "m") + "--XyZ--",
            AmbiguousModel::Spelling,
        ),
        (
            field("\" model\"", "m") + "--XyZ--",
            AmbiguousModel::Spelling,
        ),
        (
            field("\"model\"", "a\r\nb") + "--XyZ--",
            AmbiguousModel::NotText,
        ),
        (
            field("\"model\"", &"x".repeat(5000)) + "--XyZ--",
            AmbiguousModel::TooLong,
        ),
        (field("\"a\"", "x"), AmbiguousModel::Incomplete),
        ("{\"model\":\"m\"}".to_owned(), AmbiguousModel::NotAForm),
    ] {
        for size in [1, 5, body.len()] {
            assert_eq!(scan(body.as_bytes(), size), Err(flaw), "{body} by {size}");
        }
    }
}

#[test]
fn a_boundary_is_the_one_that_the_type_names() {
    let boundary = |text: &str| Boundary::of(text).map(|boundary| boundary.0);
    for (text, found) in [
        (KIND, Some("XyZ")),
        ("Multipart/Form-Data;charset=utf-8; Boundary=\"a b\"", None),
        ("multipart/form-data; boundary=\"a:b\"; x=y", Some("a:b")),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary*=a", None),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/mixed; boundary=a", None),
    ] {
        assert_eq!(boundary(text).as_deref(), found, "{text}");
    }
}

proptest! {
    #[test]
    fn pieces_of_any_size_say_the_same(
        parts in prop::collection::vec(("(model|a|file|Model)", "[a-z\r\n-]{0,12}|--XyZ"), 0..4),
        size in 1_usize..30,
    ) {
        let parts: String = parts.iter().map(|(name, value)| field(name, value)).collect();
        let body = parts + "--XyZ--\r\n";
        prop_assert_eq!(scan(body.as_bytes(), size), scan(body.as_bytes(), body.len()));
    }

    #[test]
    fn whatever_comes_is_read_without_harm(bytes: Vec<u8>, size in 1_usize..20) {
        let mut body = b"--XyZ\r\n".to_vec();
        body.extend(bytes);
        scan(&body, size).ok();
    }
}
