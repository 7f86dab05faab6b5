//! The output of `hermesctl connect`.

use serde::Serialize;

use super::fill::File;

/// The JSON form of `connect APP`.
#[derive(Serialize)]
pub(in crate::cli) struct ConnectOutput {
    /// The app's name on the command line.
    pub(in crate::cli) app: &'static str,
    /// The app's name for people.
    pub(in crate::cli) title: &'static str,
    /// Where it runs.
    pub(in crate::cli) from: &'static str,
    /// The provider behind `base_url`; routes may choose others there.
    pub(in crate::cli) provider: String,
    /// The API that the app has to use, as a path below `/v1`; `None` if unknown.
    pub(in crate::cli) path: Option<&'static str>,
    /// Whether its requests are translated to another API of the provider.
    pub(in crate::cli) translated: bool,
    /// What it is configured with.
    pub(in crate::cli) base_url: String,
    /// Whether hermes-proxyd is running and listens where the app connects.
    pub(in crate::cli) ready: bool,
    /// The key that was made, which can't be shown again.
    pub(in crate::cli) key: Option<String>,
    /// The name of the key that the app needs.
    pub(in crate::cli) key_name: Option<String>,
    /// The model, if known.
    pub(in crate::cli) model: Option<String>,
    /// The embedding model, if known.
    pub(in crate::cli) embedding_model: Option<String>,
    /// The files, in the order in which they are needed.
    pub(in crate::cli) files: Vec<File>,
    /// What the user must know first: the assumed location, if none was given, and what happened to the key. Comes
    /// before the files, or first in the notes.
    #[serde(skip)]
    pub(in crate::cli) lead: Vec<String>,
    /// What to do, and common mistakes.
    pub(in crate::cli) notes: Vec<String>,
}

/// The JSON form of `connect`.
#[derive(Serialize)]
pub(in crate::cli) struct ConnectListing {
    /// The known apps.
    pub(in crate::cli) apps: Vec<KnownApp>,
}

/// An app that can be connected.
#[derive(Serialize)]
pub(in crate::cli) struct KnownApp {
    /// Its name on the command line.
    pub(in crate::cli) app: &'static str,
    /// Its name for people.
    pub(in crate::cli) title: &'static str,
    /// What it is, in a line.
    pub(in crate::cli) what: &'static str,
}
