//! Fills in an app's snippets. Pure.

use std::path::Path;

use super::apps::{App, Container, Snippet};
use crate::containers::AppTarget;

/// The placeholder of the key, if none is requested.
pub(super) const ANY_KEY: &str = "anything";
/// The file to put beside an app's compose file.
pub(super) const COMPOSE: &str = "compose.override.yaml";
/// The placeholder of an unknown model.
const MODEL: &str = "YOUR-MODEL";
/// The placeholder of an unknown model for embeddings.
const EMBEDDING_MODEL: &str = "YOUR-EMBEDDING-MODEL";
/// The placeholder of its vectors' unknown length.
const DIMENSIONS: &str = "YOUR-DIMENSIONS";
/// The vector length of common models, unless a request asks for another.
const KNOWN_DIMENSIONS: [(&str, &str); 12] = [
    ("text-embedding-3-small", "1536"),
    ("text-embedding-3-large", "3072"),
    ("text-embedding-ada-002", "1536"),
    ("gemini-embedding-001", "3072"),
    ("mistral-embed", "1024"),
    ("nomic-embed-text", "768"),
    ("nomic-embed-text-v1.5", "768"),
    ("mxbai-embed-large", "1024"),
    ("bge-m3", "1024"),
    ("qwen3-embedding-0.6b", "1024"),
    ("qwen3-embedding-4b", "2560"),
    ("qwen3-embedding-8b", "4096"),
];

/// The service of an app that has no compose file of its own.
const ANY_SERVICE: Container = Container {
    service: "app",
    mount: None,
    is_usual: false,
};

/// The values of the placeholders.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    /// `http://127.0.0.1:8645/v1`.
    pub(super) base_url: &'a str,
    /// The client key, or a placeholder.
    pub(super) key: &'a str,
    /// The model, if known.
    pub(super) model: Option<&'a str>,
    /// The embedding model, if known.
    pub(super) embedding_model: Option<&'a str>,
}

impl Values<'_> {
    /// The vector length of the embedding model, if known.
    fn dimensions(&self) -> Option<&'static str> {
        let name = self.embedding_model?.to_ascii_lowercase();
        let name = name.rsplit('/').next().unwrap_or_default();
        let name = name.trim_end_matches(":latest");
        let mut known = KNOWN_DIMENSIONS.iter();
        known
            .find(|(model, _)| *model == name)
            .map(|(_, length)| *length)
    }
}

/// A filled-in file of the app.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(in crate::cli) struct File {
    /// Its name.
    pub(in crate::cli) name: String,
    /// Where it belongs.
    pub(in crate::cli) about: String,
    pub(in crate::cli) text: String,
}

/// Whether a text needs no quoting in any kind of snippet, shell lines included.
pub(super) fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/@+[]%".contains(c);
    !text.is_empty() && text.len() <= 200 && text.chars().all(plain)
}

/// The app's files for this target, ready to be used.
pub(super) fn files(
    app: &App,
    target: &AppTarget,
    in_container: bool,
    values: Values<'_>,
) -> Vec<File> {
    // A sidecar always needs a compose file.
    let any = target.socket.as_ref().map(|_| &ANY_SERVICE);
    let compose = app.container.as_ref().or(any).filter(|_| in_container);
    let Some(container) = compose else {
        return app.snippets.iter().map(|one| whole(one, values)).collect();
    };
    let (variables, others): (Vec<&Snippet>, Vec<_>) =
        app.snippets.iter().partition(|one| one.is_env);
    let mut files: Vec<File> = others.iter().map(|one| whole(one, values)).collect();
    let variables: Vec<String> = variables
        .iter()
        .map(|one| environment(one, values))
        .collect();
    let compose = service(container, target, &variables.concat());
    if let Some(text) = compose {
        files.insert(0, override_file(app, text));
    }
    files
}

/// The text with its placeholders filled in.
pub(super) fn fill(text: &str, values: Values<'_>) -> String {
    let embedding = values.embedding_model.unwrap_or(EMBEDDING_MODEL);
    let root = values.base_url.trim_end_matches("/v1");
    text.replace("{{base_url}}", values.base_url)
        .replace("{{root_url}}", root)
        .replace("{{key}}", values.key)
        .replace("{{model}}", values.model.unwrap_or(MODEL))
        .replace("{{embedding_model}}", embedding)
        .replace(
            "{{embedding_dimensions}}",
            values.dimensions().unwrap_or(DIMENSIONS),
        )
}

fn whole(snippet: &Snippet, values: Values<'_>) -> File {
    let lines = snippet
        .text
        .lines()
        .map(|line| optional(line, values) + "\n");
    File {
        name: snippet.file.to_owned(),
        about: snippet.about.to_owned(),
        text: fill(&lines.collect::<String>(), values),
    }
}

/// A line that begins with a question mark concerns embeddings. It becomes a comment while its value is unknown.
fn optional(line: &str, values: Values<'_>) -> String {
    let Some(rest) = line.strip_prefix('?') else {
        return line.to_owned();
    };
    let is_known = if rest.contains("{{embedding_dimensions}}") {
        values.dimensions().is_some()
    } else {
        values.embedding_model.is_some()
    };
    let sign = if is_known { "" } else { "#" };
    format!("{sign}{rest}")
}

/// Variables in a compose file's form.
fn environment(snippet: &Snippet, values: Values<'_>) -> String {
    let lines = snippet.text.lines().map(|line| {
        let line = fill(&optional(line, values), values);
        let (sign, rest) = match line.strip_prefix('#') {
            Some(rest) => ("#", rest),
            None => ("", &*line),
        };
        match rest.split_once('=') {
            Some((name, value)) => format!("      {sign}{name}: \"{value}\"\n"),
            None => format!("      {line}\n"),
        }
    });
    lines.collect()
}

/// The lines for the app's service in a compose file, if it needs any.
fn service(container: &Container, target: &AppTarget, variables: &str) -> Option<String> {
    let environment = (!variables.is_empty()).then(|| format!("    environment:\n{variables}"));
    let mount = container.mount;
    let volumes = mount.map(|(from, to)| format!("    volumes:\n      - \"{from}:{to}:ro\"\n"));
    let name = "    extra_hosts:\n      - \"host.docker.internal:host-gateway\"\n";
    let extra_hosts = target.extra_hosts.then(|| name.to_owned());
    let after = "    depends_on:\n      - hermes-proxyd\n";
    let sidecar = target
        .socket
        .as_deref()
        .map(|socket| after.to_owned() + &sidecar(socket));
    let parts = [environment, volumes, extra_hosts, sidecar];
    let text: String = parts.into_iter().flatten().collect();
    (!text.is_empty()).then(|| format!("services:\n  {}:\n{text}", container.service))
}

/// The service that forwards connections to the socket.
fn sidecar(socket: &Path) -> String {
    let folder = socket.parent().unwrap_or(Path::new("/"));
    let name = socket.file_name().unwrap_or_default();
    include_str!("snippets/sidecar.yaml")
        .replace("{{folder}}", &folder.display().to_string())
        .replace("{{socket}}", &name.to_string_lossy())
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
}

fn override_file(app: &App, text: String) -> File {
    File {
        name: COMPOSE.to_owned(),
        about: format!(
            "beside {}'s compose file; the service must have the same name in both",
            app.called()
        ),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::apps::{self, APPS};
    use super::*;
    use crate::cli::args::AppLocationArg;
    use crate::config::ListenAddress;
    use crate::containers::{ListenEndpoint, Network, Surroundings, World, way};

    const VALUES: Values<'_> = Values {
        base_url: "http://127.0.0.1:8645/v1",
        key: "a-key",
        model: Some("a-model"),
        embedding_model: None,
    };

    fn target(place: AppLocationArg, socket: bool) -> AppTarget {
        let network = if socket {
            Network::Socket
        } else {
            Network::Chosen
        };
        let address = ListenAddress::Interface {
            name: "docker0".to_owned(),
            port: 8645,
        };
        let endpoint = ListenEndpoint {
            address,
            provider: "nous".to_owned(),
            needs_key: true,
            is_open: true,
        };
        let world = World {
            doors: &[endpoint],
            surroundings: &Surroundings::default(),
            is_bare: false,
        };
        way(world, place.into(), network).target
    }

    fn all(in_container: bool, place: AppLocationArg, socket: bool) -> Vec<(&'static App, File)> {
        let target = target(place, socket);
        let files = |app: &'static App| {
            let files = files(app, &target, in_container, VALUES).into_iter();
            files.map(move |file| (app, file))
        };
        APPS.iter().flat_map(files).collect()
    }

    #[test]
    fn every_placeholder_is_filled_in() {
        for (place, socket) in [
            (AppLocationArg::Bare, false),
            (AppLocationArg::Docker, false),
            (AppLocationArg::Docker, true),
        ] {
            for (app, file) in all(place != AppLocationArg::Bare, place, socket) {
                let name = format!("{} {}", app.name, file.name);
                assert!(!file.text.contains("{{"), "{name}: {}", file.text);
                assert!(!file.text.contains("\n?"), "{name}: {}", file.text);
                assert!(file.text.ends_with('\n'), "{name}");
            }
        }
        for app in APPS {
            for note in app.notes {
                assert!(!fill(note, VALUES).contains("{{"), "{note}");
                // The key would be shown twice, and notes stay in the terminal's history.
                assert!(!note.contains("{{key}}"), "{note}");
            }
        }
    }

    #[test]
    fn every_app_is_told_address_and_key() {
        for app in APPS {
            let files = files(app, &target(AppLocationArg::Bare, false), false, VALUES);
            let text: String = files.into_iter().map(|file| file.text).collect();
            let root = VALUES.base_url.trim_end_matches("/v1");
            let address = if app.name == "claude-code" {
                root
            } else {
                VALUES.base_url
            };
            assert!(text.contains(address), "{}", app.name);
            assert!(text.contains(VALUES.key), "{}", app.name);
        }
    }

    #[test]
    fn json_is_json_and_toml_is_toml() {
        let mut seen = 0;
        for (app, file) in all(false, AppLocationArg::Bare, false) {
            let is = |end: &str| file.name.ends_with(end);
            if is(".json") || is(".conf") {
                serde_json::from_str::<serde_json::Value>(&file.text).unwrap();
                seen += 1;
            }
            if is(".toml") {
                toml::from_str::<toml::Table>(&file.text).unwrap();
                seen += 1;
            }
            assert!(!app.title.is_empty());
        }
        assert_eq!(seen, 5);
    }

    #[test]
    fn variables_become_those_of_a_compose_file() {
        let app = apps::by_name("karakeep").unwrap();
        let files = files(app, &target(AppLocationArg::Docker, false), true, VALUES);
        let [file] = &*files else { panic!("{files:?}") };
        assert_eq!(
            file.text,
            "services:\n  web:\n    environment:\n      OPENAI_BASE_URL: \
             \"http://127.0.0.1:8645/v1\"\n      OPENAI_API_KEY: \"a-key\"\n      \
             INFERENCE_TEXT_MODEL: \"a-model\"\n      INFERENCE_IMAGE_MODEL: \"a-model\"\n      \
             # By default a job times out after 30 seconds, which is short for a reasoning \
             model.\n      INFERENCE_JOB_TIMEOUT_SEC: \"120\"\n      #EMBEDDING_TEXT_MODEL: \
             \"YOUR-EMBEDDING-MODEL\"\n      # Karakeep 0.33 and newer: the length of that model's \
             vectors; 1536 if this is not set.\n      #EMBEDDING_DIMENSIONS: \
             \"YOUR-DIMENSIONS\"\n    extra_hosts:\n      - \
             \"host.docker.internal:host-gateway\"\n"
        );
    }

    #[test]
    fn a_socket_brings_its_sidecar() {
        let app = apps::by_name("librechat").unwrap();
        let files = files(app, &target(AppLocationArg::Docker, true), true, VALUES);
        let compose = &files[0].text;
        for part in [
            "  hermes-proxyd:\n    image: hermes-proxyd:",
            "[\"bridge\", \"--to\", \"/apps/proxy.sock\"]",
            "\"${HOME}/.local/state/hermes-proxyd/apps:/apps\"",
            "./librechat.yaml:/app/librechat.yaml:ro",
        ] {
            assert!(compose.contains(part), "{part}: {compose}");
        }
        assert_eq!(files[1].name, "librechat.yaml");
    }

    #[test]
    fn an_app_without_a_compose_file_gets_a_sidecar_too() {
        let app = apps::by_name("codex").unwrap();
        let names = |place, socket| -> Vec<String> {
            let files = files(app, &target(place, socket), true, VALUES).into_iter();
            files.map(|file| file.name).collect()
        };
        let own = ["config.toml", "profile"];
        assert_eq!(names(AppLocationArg::Docker, false), own);
        let all = names(AppLocationArg::Docker, true);
        assert_eq!(all, [&["compose.override.yaml"], &own[..]].concat());
    }

    #[test]
    fn a_known_model_for_embeddings_is_filled_in() {
        let app = apps::by_name("open-webui").unwrap();
        let target = target(AppLocationArg::Bare, false);
        let without = &files(app, &target, false, VALUES)[0].text;
        assert!(without.contains("\n#RAG_EMBEDDING_MODEL=YOUR-EMBEDDING-MODEL\n"));
        let values = Values {
            embedding_model: Some("embed-4"),
            ..VALUES
        };
        let with = &files(app, &target, false, values)[0].text;
        assert!(with.contains("\nRAG_EMBEDDING_MODEL=embed-4\n"), "{with}");
    }

    #[test]
    fn the_length_of_vectors_is_filled_in_where_it_is_known() {
        let app = apps::by_name("karakeep").unwrap();
        let text = |model| {
            let values = Values {
                embedding_model: Some(model),
                ..VALUES
            };
            let files = files(app, &target(AppLocationArg::Bare, false), false, values);
            files.into_iter().next().unwrap().text
        };
        let known = text("openai/text-embedding-3-large");
        assert!(known.contains("\nEMBEDDING_DIMENSIONS=3072\n"), "{known}");
        let unknown = text("my-embedder");
        assert!(
            unknown.contains("\nEMBEDDING_TEXT_MODEL=my-embedder\n"),
            "{unknown}"
        );
        assert!(
            unknown.contains("\n#EMBEDDING_DIMENSIONS=YOUR-DIMENSIONS\n"),
            "{unknown}"
        );
    }

    /// In a container, 127.0.0.1 is the container itself.
    #[test]
    fn no_file_for_an_app_without_a_container_belongs_into_one() {
        for (app, file) in all(false, AppLocationArg::Bare, false) {
            let words = format!("{} {}", file.name, file.about).to_lowercase();
            for word in ["compose", "container", "docker"] {
                assert!(!words.contains(word), "{}: {words}", app.name);
            }
        }
    }

    #[test]
    fn what_a_shell_or_a_quote_would_act_on_is_not_plain() {
        for text in ["Hermes-4-405B", "a/b:c@1", "http://[::1]:8645/v1"] {
            assert!(is_plain(text), "{text}");
        }
        for text in ["", "a b", "a\"", "$(x)", "a'b", "a\nb", "`x`", "a\\", "é"] {
            assert!(!is_plain(text), "{text}");
        }
    }

    #[test]
    fn names_are_names_of_keys_and_stand_once() {
        let mut names: Vec<_> = apps::names().collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        let key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(names.iter().all(|name| name.chars().all(key)));
    }
}
