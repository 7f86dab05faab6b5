//! The shape of the stores: files with their modes, keys without values.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::shape;
use crate::cli::platform::access;

/// A file that is larger is not looked into.
const LARGEST: u64 = 4 << 20;

/// The files of stores, and what is secret in them.
#[derive(Debug, Default)]
pub(super) struct Stores {
    pub(super) text: String,
    pub(super) secrets: Vec<String>,
}

impl Stores {
    /// Hermes Agent's files that we use, and all of ours.
    pub(super) fn look(hermes: &[PathBuf], ours: Option<&Path>) -> Self {
        let mut stores = Self::default();
        for file in hermes {
            stores.file(file);
        }
        if let Some(folder) = ours {
            stores.folder(folder, 3);
        }
        stores
    }

    fn folder(&mut self, folder: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(folder) else {
            self.line(folder, "does not exist");
            return;
        };
        self.line(folder, &access(folder));
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() && depth > 0 {
                self.folder(&path, depth - 1);
            } else {
                self.file(&path);
            }
        }
    }

    fn file(&mut self, file: &Path) {
        let Ok(metadata) = fs::metadata(file) else {
            self.line(file, "does not exist");
            return;
        };
        let about = format!("{}, {} bytes", access(file), metadata.len());
        self.line(file, &about);
        if !metadata.is_file() || metadata.len() > LARGEST {
            return;
        }
        let Ok(text) = fs::read_to_string(file) else {
            self.text.push_str("    can't be read\n");
            return;
        };
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => {
                self.text.push_str(&shape::shape(&value));
                let mut found = Vec::new();
                shape::secrets("", &value, &mut found);
                self.secrets.extend(found.into_iter().map(str::to_owned));
            }
            Err(_) if text.is_empty() => {}
            Err(_) => self.text.push_str("    is not JSON\n"),
        }
    }

    fn line(&mut self, path: &Path, about: &str) {
        let name = path.display().to_string();
        self.text.extend([&name, ": ", about, "\n"]);
    }
}
