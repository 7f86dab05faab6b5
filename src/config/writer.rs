//! Writes the keys of one table; pure.

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The line that opens its table, `[limits]`; empty at the file's top level.
    pub table: String,
    /// The key with its tables as problems name it: `limits.body`, `listen[0].address`.
    pub place: String,
    /// The key within its table.
    pub key: &'static str,
    /// The value as TOML.
    pub value: String,
}

/// The settings of a table that grow.
pub(super) struct SettingsWriter<'s> {
    settings: &'s mut Vec<Setting>,
    header: String,
    place: String,
    omitted: Vec<&'static str>,
}

impl<'s> SettingsWriter<'s> {
    pub(super) fn new(settings: &'s mut Vec<Setting>, header: String, place: String) -> Self {
        Self {
            settings,
            header,
            place,
            omitted: Vec::new(),
        }
    }

    pub(super) fn plain(settings: &'s mut Vec<Setting>, name: &str) -> Self {
        Self::new(settings, format!("[{name}]"), name.to_owned())
    }

    pub(super) fn repeated(settings: &'s mut Vec<Setting>, name: &str, index: usize) -> Self {
        Self::new(settings, format!("[[{name}]]"), format!("{name}[{index}]"))
    }

    /// Omits these keys from here on.
    pub(super) fn without(&mut self, keys: Vec<&'static str>) {
        self.omitted = keys;
    }

    /// The key, where it has a value.
    pub(super) fn put(&mut self, key: &'static str, value: Option<String>) {
        let Some(value) = value.filter(|_| !self.omitted.contains(&key)) else {
            return;
        };
        let place = if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        };
        self.settings.push(Setting {
            table: self.header.clone(),
            place,
            key,
            value,
        });
    }
}

/// A TOML string on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let code = format!("\\u{:04X}", u32::from(letter));
                quoted.push_str(&code);
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
