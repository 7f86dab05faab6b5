//! The table of apps, with their settings and notes. Pure.

use crate::control::chat_apis::ChatApi;

/// An app.
#[derive(Debug)]
pub(super) struct App {
    /// The name on the command line, and of its key.
    pub(super) name: &'static str,
    /// Its name for people.
    pub(super) title: &'static str,
    /// What it is, in a line.
    pub(super) what: &'static str,
    /// The APIs that it can use, its default first.
    pub(super) speaks: &'static [AppApi],
    /// The settings for it.
    pub(super) snippets: &'static [Snippet],
    /// How it runs in a container, if it can.
    pub(super) container: Option<Container>,
    /// Common mistakes. The snippets' placeholders are used here too.
    pub(super) notes: &'static [&'static str],
}

/// An API that an app can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AppApi {
    /// The API.
    pub(super) wire: ChatApi,
    /// The app's setting that selects this API, if it is not the default.
    pub(super) setting: Option<&'static str>,
}

/// A file of the app, or lines to type.
#[derive(Debug)]
pub(super) struct Snippet {
    /// Its name.
    pub(super) file: &'static str,
    /// Where it belongs.
    pub(super) about: &'static str,
    /// Whether it holds variables of the environment.
    pub(super) is_env: bool,
    /// The content, with placeholders.
    pub(super) text: &'static str,
}

/// A service of a compose file.
#[derive(Debug)]
pub(super) struct Container {
    /// Its name in the app's own compose file.
    pub(super) service: &'static str,
    /// The snippet's file and where it is mounted, if the app reads one.
    pub(super) mount: Option<(&'static str, &'static str)>,
    /// Whether it nearly always runs in a container.
    pub(super) is_usual: bool,
}

impl App {
    /// Its name within a sentence.
    pub(super) fn called(&self) -> &'static str {
        if self.name == ANY {
            "the app"
        } else {
            self.title
        }
    }

    /// The prefix of the models that it works best with.
    pub(super) fn preferred_models(&self) -> &'static str {
        if self.name == "claude-code" {
            "anthropic/"
        } else {
            ""
        }
    }
}

/// The entry for every app without one of its own.
const ANY: &str = "openai";

const CHAT: &[AppApi] = &[by_itself(ChatApi::Chat)];
const RESPONSES: &[AppApi] = &[by_itself(ChatApi::Responses)];
const MESSAGES: &[AppApi] = &[by_itself(ChatApi::Messages)];
const N8N: &[AppApi] = &[
    by_itself(ChatApi::Responses),
    AppApi {
        wire: ChatApi::Chat,
        setting: Some("In the OpenAI Chat Model node switch \"Use Responses API\" off."),
    },
];
const EITHER: &[AppApi] = &[
    AppApi {
        wire: ChatApi::Chat,
        setting: Some(
            "Where the app offers \"Responses\" and \"Chat Completions\", choose Chat Completions.",
        ),
    },
    AppApi {
        wire: ChatApi::Responses,
        setting: Some(
            "Where the app offers \"Responses\" and \"Chat Completions\", choose Responses.",
        ),
    },
];

pub(super) const APPS: &[App] = &[
    App {
        name: "karakeep",
        title: "Karakeep",
        what: "tags and summarises bookmarks",
        speaks: CHAT,
        snippets: &[env(
            ".env",
            "the environment of Karakeep's server",
            include_str!("snippets/karakeep.env"),
        )],
        container: Some(service("web")),
        notes: &[
            "New bookmarks get tags. For those that failed: Admin Settings, Background Jobs, \
             \"Regenerate AI tags for failed bookmarks\".",
            "If jobs still time out after 120 s, raise INFERENCE_JOB_TIMEOUT_SEC.",
            "EMBEDDING_DIMENSIONS must be the length of your embedding model's vectors; otherwise \
             Karakeep can't index them.",
        ],
    },
    App {
        name: "open-webui",
        title: "Open WebUI",
        what: "a chat interface for many models",
        speaks: CHAT,
        snippets: &[env(
            ".env",
            "the environment of Open WebUI",
            include_str!("snippets/open-webui.env"),
        )],
        container: Some(service("open-webui")),
        notes: &[
            "Open WebUI reads these at its first start only. Later: Admin Panel, Settings, \
             Connections, OpenAI API: URL {{base_url}}, with /v1 and no trailing slash.",
        ],
    },
    App {
        name: "openviking",
        title: "OpenViking",
        what: "a context database for agents",
        speaks: CHAT,
        snippets: &[file(
            "ov.conf",
            "as ~/.openviking/ov.conf, or where OPENVIKING_CONFIG_FILE points",
            include_str!("snippets/openviking.json"),
        )],
        container: Some(sometimes("openviking")),
        notes: &[
            "`dimension` must be the length of your embedding model's vectors; `openviking-server \
             doctor` measures it.",
        ],
    },
    App {
        name: "n8n",
        title: "n8n",
        what: "workflows with the OpenAI Chat Model node",
        speaks: N8N,
        snippets: &[file(
            "hermes-proxyd.json",
            "for `n8n import:credentials --input=hermes-proxyd.json`",
            include_str!("snippets/n8n.json"),
        )],
        container: Some(service("n8n")),
        notes: &[
            "Or by hand: Credentials, OpenAI, with Base URL {{base_url}} and the API key in \
             hermes-proxyd.json.",
            "In the OpenAI Chat Model node choose {{model}}.",
        ],
    },
    App {
        name: "lobechat",
        title: "LobeChat",
        what: "a chat interface with agents",
        speaks: CHAT,
        snippets: &[env(
            ".env",
            "the environment of LobeChat's server",
            include_str!("snippets/lobechat.env"),
        )],
        container: Some(service("lobe")),
        notes: &[
            "OPENAI_PROXY_URL must end in /v1.",
            "Keep \"Use Client-Side Fetching Mode\" off: with it, the browser sends the requests, \
             and web pages are refused unless they are listed in `allowed_origins`.",
        ],
    },
    App {
        name: "librechat",
        title: "LibreChat",
        what: "a chat interface with many providers",
        speaks: CHAT,
        snippets: &[file(
            "librechat.yaml",
            "beside LibreChat's .env",
            include_str!("snippets/librechat.yaml"),
        )],
        container: Some(Container {
            service: "api",
            mount: Some(("./librechat.yaml", "/app/librechat.yaml")),
            is_usual: true,
        }),
        notes: &[
            "If you have a librechat.yaml, add the entry below `custom:` to it.",
            "If the provider refuses a parameter, name it in `dropParams` of this entry.",
        ],
    },
    App {
        name: "paperless-gpt",
        title: "Paperless-GPT",
        what: "titles, tags and text for Paperless-ngx",
        speaks: CHAT,
        snippets: &[env(
            ".env",
            "the environment of Paperless-GPT",
            include_str!("snippets/paperless-gpt.env"),
        )],
        container: Some(service("paperless-gpt")),
        notes: &[
            "Paperless-AI instead: AI_PROVIDER=custom, CUSTOM_BASE_URL={{base_url}}, \
             CUSTOM_MODEL={{model}}, and as CUSTOM_API_KEY what OPENAI_API_KEY is here.",
        ],
    },
    App {
        name: "aider",
        title: "Aider",
        what: "a pair programmer in the terminal",
        speaks: CHAT,
        snippets: &[env(
            ".env",
            "in your project or your home folder",
            include_str!("snippets/aider.env"),
        )],
        container: None,
        notes: &["Aider names the model openai/{{model}}: the prefix chooses the protocol."],
    },
    App {
        name: "continue",
        title: "Continue",
        what: "an assistant in the editor, and `cn` in the terminal",
        speaks: CHAT,
        snippets: &[file(
            "config.yaml",
            "as ~/.continue/config.yaml",
            include_str!("snippets/continue.yaml"),
        )],
        container: None,
        notes: &["If you have a config.yaml, add the entry below `models:` to it."],
    },
    App {
        name: "home-assistant",
        title: "Home Assistant",
        what: "a conversation agent, through a HACS integration",
        speaks: CHAT,
        snippets: &[file(
            "fields",
            "to enter in Settings, Devices & services, Add integration",
            include_str!("snippets/home-assistant.txt"),
        )],
        container: Some(service("homeassistant")),
        notes: &[
            "Home Assistant's own OpenAI integration has no field for a URL. Install \"Local \
             OpenAI LLM\" (local_openai) or \"Extended OpenAI Conversation\" from HACS.",
            "The integration lists the models before it saves its settings, so log in first.",
        ],
    },
    App {
        name: "codex",
        title: "Codex CLI",
        what: "OpenAI's agent in the terminal",
        speaks: RESPONSES,
        snippets: &[
            file(
                "config.toml",
                "in ~/.codex/config.toml",
                include_str!("snippets/codex.toml"),
            ),
            file(
                "profile",
                "in your shell's profile",
                include_str!("snippets/codex.sh"),
            ),
        ],
        container: None,
        notes: &[
            "If you have a config.toml, put `model` and `model_provider` above its first table.",
        ],
    },
    App {
        name: "claude-code",
        title: "Claude Code",
        what: "Anthropic's agent in the terminal",
        speaks: MESSAGES,
        snippets: &[file(
            "settings.json",
            "as ~/.claude/settings.json",
            include_str!("snippets/claude-code.json"),
        )],
        container: None,
        notes: &["If you have a settings.json, add the variables to its `env`."],
    },
    App {
        name: "opencode",
        title: "opencode",
        what: "an agent in the terminal",
        speaks: CHAT,
        snippets: &[file(
            "opencode.json",
            "in your project, or as ~/.config/opencode/opencode.json",
            include_str!("snippets/opencode.json"),
        )],
        container: None,
        notes: &["In opencode the model is called hermes-proxyd/{{model}}."],
    },
    App {
        name: "llm",
        title: "llm",
        what: "Simon Willison's command-line tool",
        speaks: CHAT,
        snippets: &[
            file(
                "extra-openai-models.yaml",
                "in the folder that `dirname \"$(llm logs path)\"` prints",
                include_str!("snippets/llm.yaml"),
            ),
            file("key", "to run once", include_str!("snippets/llm.sh")),
        ],
        container: None,
        notes: &["Then: llm -m hermes \"Hello\""],
    },
    App {
        name: ANY,
        title: "Any other app",
        what: "anything that uses OpenAI's API and takes a base URL",
        speaks: EITHER,
        snippets: &[
            env(
                ".env",
                "the variables that OpenAI's SDKs read",
                include_str!("snippets/openai.env"),
            ),
            file(
                "curl",
                "to try it by hand",
                include_str!("snippets/openai.sh"),
            ),
        ],
        container: Some(sometimes("app")),
        notes: &[
            "Where an app asks for a \"base URL\" or \"API endpoint\", enter {{base_url}}; most \
             need the /v1 and no trailing slash.",
        ],
    },
];

/// Their names on the command line.
pub(in crate::cli) fn names() -> impl Iterator<Item = &'static str> {
    APPS.iter().map(|app| app.name)
}

/// The app of this name.
pub(super) fn by_name(name: &str) -> Option<&'static App> {
    APPS.iter().find(|app| app.name == name)
}

const fn by_itself(wire: ChatApi) -> AppApi {
    AppApi {
        wire,
        setting: None,
    }
}

const fn env(file: &'static str, about: &'static str, text: &'static str) -> Snippet {
    Snippet {
        file,
        about,
        is_env: true,
        text,
    }
}

const fn file(file: &'static str, about: &'static str, text: &'static str) -> Snippet {
    Snippet {
        file,
        about,
        is_env: false,
        text,
    }
}

const fn service(service: &'static str) -> Container {
    Container {
        service,
        mount: None,
        is_usual: true,
    }
}

const fn sometimes(service: &'static str) -> Container {
    Container {
        service,
        mount: None,
        is_usual: false,
    }
}
