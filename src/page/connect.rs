//! How an app connects from where the reader is. The key is a placeholder. Pure.

use super::PageView;
use super::markup::{Html, put};

const PLACEHOLDER: &str = "YOUR_CLIENT_KEY";

/// The base URLs, the key, and a snippet.
pub(super) fn section(page: &mut Html, sight: &PageView) {
    let door = &sight.door;
    let default = format!("{}/v1", door.origin);
    page.markup(
        "<section aria-labelledby=\"connect\">\n<h2 id=\"connect\">Connect an app</h2>\n<dl>\n",
    );
    for provider in &sight.status.providers {
        let url = if door.provider.as_ref() == Some(&provider.name) {
            default.clone()
        } else {
            format!("{}/{}/v1", door.origin, provider.name)
        };
        put!(
            page,
            "<div><dt>Base URL for ",
            provider.display_name,
            "</dt><dd><code>",
            url,
            "</code></dd></div>\n"
        );
    }
    page.markup("<div><dt>API key</dt><dd>");
    if door.needs_key {
        page.markup("a client key, which <code>hermesctl clients add NAME</code> makes");
    } else {
        page.markup(
            "any text from your own programs on this machine; elsewhere a client key, which \
             <code>hermesctl clients add NAME</code> makes",
        );
    }
    put!(
        page,
        "</dd></div>\n</dl>\n<pre tabindex=\"0\" role=\"region\" aria-label=\"Variables for an app\"><code>OPENAI_BASE_URL=",
        default,
        "\nOPENAI_API_KEY=",
        PLACEHOLDER,
        "</code></pre>\n<p class=\"quiet\"><code>hermesctl connect</code> has the settings of many apps.</p>\n</section>\n"
    );
}
