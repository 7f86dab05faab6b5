//! The same for a form (`multipart/form-data`, RFC 7578): its model is the part with that name.
//!
//! Parsers differ about line ends, blanks after a delimiter, and bytes before the first one. A form that is not written
//! in the one way that all of them read is refused.

use memchr::memmem;

use super::requested::{AmbiguousModel, LONGEST_NAME, RequestedModel};

/// The longest head of a form field's part, in bytes.
const LONGEST_HEAD: usize = 8 * 1024;
const END: &[u8] = b"\r\n";

/// What separates the parts of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(String);

impl Boundary {
    /// The one that a `Content-Type` names (RFC 2046 §5.1.1).
    pub fn of(content_type: &str) -> Option<Self> {
        let (essence, parameters) = content_type.split_once(';')?;
        if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let mut found = None;
        for (name, value) in parameters_of(parameters)? {
            if name.starts_with("boundary")
                && (name != "boundary" || found.replace(value).is_some())
            {
                return None;
            }
        }
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
        let found =
            found.filter(|text| (1..=70).contains(&text.len()) && text.bytes().all(is_good));
        found.map(Self)
    }

    /// What to put where, so that the form names this model instead.
    pub fn replacement(
        &self,
        model: &RequestedModel,
        name: &str,
    ) -> (std::ops::Range<u64>, String) {
        match model {
            RequestedModel::Named(_, place) | RequestedModel::Empty(place) => {
                (place.clone(), name.to_owned())
            }
            RequestedModel::Missing { .. } => {
                let head = "Content-Disposition: form-data; name=\"model\"";
                (0..0, format!("--{}\r\n{head}\r\n\r\n{name}\r\n", self.0))
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FormState {
    /// Before the first delimiter, which the form begins with.
    Start,
    /// Behind one.
    Delimiter,
    /// In a part's head.
    Head,
    /// In a part; whether it is ours.
    Part(bool),
    /// Behind the last delimiter.
    End,
}

/// Reads a form piece by piece, to its end, since its last part could be another `model`.
#[derive(Debug)]
pub struct FormSearch {
    delimiter: Vec<u8>,
    state: FormState,
    /// What has come and is not looked through, with its place. Of a part that is not ours not more than could be the
    /// beginning of a delimiter.
    rest: Vec<u8>,
    at: u64,
    model: Option<RequestedModel>,
}

impl FormSearch {
    /// A form whose parts are separated so.
    pub fn new(boundary: &Boundary) -> Self {
        Self {
            delimiter: format!("--{}", boundary.0).into_bytes(),
            state: FormState::Start,
            rest: Vec::new(),
            at: 0,
            model: None,
        }
    }

    /// The model, once it is certain except for a second one.
    pub fn model(&self) -> Option<&RequestedModel> {
        self.model.as_ref()
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// What makes the model uncertain.
    pub fn read(&mut self, piece: &[u8]) -> Result<(), AmbiguousModel> {
        self.rest.extend_from_slice(piece);
        while self.step()? {}
        Ok(())
    }

    /// The form is over.
    ///
    /// # Errors
    /// Where its last delimiter has not come.
    pub fn finish(&self) -> Result<&RequestedModel, AmbiguousModel> {
        self.model.as_ref().ok_or(AmbiguousModel::Incomplete)
    }

    /// Goes on, if that is possible with what has come.
    fn step(&mut self) -> Result<bool, AmbiguousModel> {
        match self.state {
            FormState::Start => {
                let known = self.rest.len().min(self.delimiter.len());
                if self.rest.get(..known) != self.delimiter.get(..known) {
                    return Err(AmbiguousModel::NotAForm);
                }
                if known < self.delimiter.len() {
                    return Ok(false);
                }
                self.skip(known);
                self.state = FormState::Delimiter;
            }
            FormState::Delimiter => {
                let Some(next) = self.rest.first_chunk::<2>().copied() else {
                    return Ok(false);
                };
                self.skip(2);
                self.state = match &next {
                    b"\r\n" => FormState::Head,
                    b"--" => {
                        let none = RequestedModel::Missing {
                            at: 0,
                            has_others: true,
                        };
                        self.model.get_or_insert(none);
                        FormState::End
                    }
                    _ => return Err(AmbiguousModel::NotAForm),
                };
            }
            FormState::Head => return self.head(),
            FormState::Part(is_ours) => return self.part(is_ours),
            FormState::End => {
                if memmem::find(&self.rest, &self.delimiter).is_some() {
                    return Err(AmbiguousModel::NotAForm);
                }
                self.keep(self.delimiter.len());
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn head(&mut self) -> Result<bool, AmbiguousModel> {
        let Some(end) = memmem::find(&self.rest, b"\r\n\r\n") else {
            if self.rest.len() > LONGEST_HEAD {
                return Err(AmbiguousModel::NotAForm);
            }
            return Ok(false);
        };
        let head = self.rest.get(..end).unwrap_or_default();
        if memmem::find(head, &self.delimiter).is_some() {
            return Err(AmbiguousModel::NotAForm);
        }
        let is_ours = is_model(head)?;
        if is_ours && self.model.is_some() {
            return Err(AmbiguousModel::Twice);
        }
        self.skip(end + 4);
        self.state = FormState::Part(is_ours);
        Ok(true)
    }

    fn part(&mut self, is_ours: bool) -> Result<bool, AmbiguousModel> {
        let Some(end) = memmem::find(&self.rest, &self.delimiter) else {
            if !is_ours {
                self.keep(self.delimiter.len() + END.len());
            } else if self.rest.len() > LONGEST_NAME + END.len() + self.delimiter.len() {
                return Err(AmbiguousModel::TooLong);
            }
            return Ok(false);
        };
        let part = self.rest.get(..end).and_then(|part| part.strip_suffix(END));
        let part = part.ok_or(AmbiguousModel::NotAForm)?;
        if is_ours {
            let place = self.at..self.at + part.len() as u64;
            let name = std::str::from_utf8(part).map_err(|_| AmbiguousModel::Encoding)?;
            if name.len() > LONGEST_NAME {
                return Err(AmbiguousModel::TooLong);
            }
            if name.chars().any(char::is_control) {
                return Err(AmbiguousModel::NotText);
            }
            self.model = Some(if name.is_empty() {
                RequestedModel::Empty(place)
            } else {
                RequestedModel::Named(name.to_owned(), place)
            });
        }
        self.skip(end + self.delimiter.len());
        self.state = FormState::Delimiter;
        Ok(true)
    }

    fn skip(&mut self, length: usize) {
        self.rest.drain(..length.min(self.rest.len()));
        self.at += length as u64;
    }

    /// Keeps the last bytes, which may belong to what has not come.
    fn keep(&mut self, last: usize) {
        self.skip(self.rest.len().saturating_sub(last));
    }
}

/// Whether a part with this head is the model.
fn is_model(head: &[u8]) -> Result<bool, AmbiguousModel> {
    let head = std::str::from_utf8(head).map_err(|_| AmbiguousModel::Encoding)?;
    let (mut disposition, mut kind, mut encoding) = (None, None, None);
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or(AmbiguousModel::NotAForm)?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if line.contains(['\r', '\n', '\0']) || name.is_empty() || !name.bytes().all(is_token) {
            return Err(AmbiguousModel::NotAForm);
        }
        let place = match name.to_ascii_lowercase().as_str() {
            "content-disposition" => &mut disposition,
            "content-type" => &mut kind,
            "content-transfer-encoding" => &mut encoding,
            _ => continue,
        };
        if place.replace(value.trim()).is_some() {
            return Err(AmbiguousModel::NotAForm);
        }
    }
    let (form_data, parameters) = disposition
        .and_then(|value: &str| value.split_once(';'))
        .ok_or(AmbiguousModel::NotAForm)?;
    if !form_data.trim().eq_ignore_ascii_case("form-data") {
        return Err(AmbiguousModel::NotAForm);
    }
    let (mut field, mut is_file) = (None, false);
    for (name, value) in parameters_of(parameters).ok_or(AmbiguousModel::NotAForm)? {
        match name.as_str() {
            "name" if field.is_none() => field = Some(value),
            "filename" => is_file = true,
            name if name.starts_with("name") => return Err(AmbiguousModel::Spelling),
            _ => is_file |= name.starts_with("filename"),
        }
    }
    let field = field.ok_or(AmbiguousModel::NotAForm)?;
    if field != "model" {
        let plain: String = field.chars().filter(|sign| *sign != '\\').collect();
        let plain = plain.trim_matches(|sign: char| sign.is_whitespace() || sign.is_control());
        if plain.eq_ignore_ascii_case("model") {
            return Err(AmbiguousModel::Spelling);
        }
        return Ok(false);
    }
    let kind = kind.map(|kind: &str| kind.to_ascii_lowercase().replace([' ', '"'], ""));
    let is_text = kind.is_none_or(|kind| {
        matches!(
            &*kind,
            "text/plain" | "text/plain;charset=utf-8" | "text/plain;charset=us-ascii"
        )
    });
    if is_file || encoding.is_some() || !is_text {
        return Err(AmbiguousModel::NotText);
    }
    Ok(true)
}

/// Parameters after a value's first semicolon, with their names in lower case; quoted texts keep their
/// backslashes. `None` if they are malformed.
fn parameters_of(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    loop {
        let (name, rest) = text.split_once('=')?;
        let name = name.trim_start();
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|sign| {
                    let ends = sign == '"' && !escaped;
                    escaped = sign == '\\' && !escaped;
                    ends
                })?;
                let (value, rest) = quoted.split_at_checked(end)?;
                (value, rest.strip_prefix('"')?)
            }
            None => match rest.find(';') {
                Some(end) => rest.split_at_checked(end)?,
                None => (rest, ""),
            },
        };
        all.push((name.to_ascii_lowercase(), value.trim_end().to_owned()));
        let rest = rest.trim_start();
        if rest.is_empty() {
            return Some(all);
        }
        text = rest.strip_prefix(';')?;
        if text.trim().is_empty() {
            return Some(all);
        }
    }
}

#[cfg(test)]
mod tests;
