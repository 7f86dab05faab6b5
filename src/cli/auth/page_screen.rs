//! The screen for logging in on a page. Pure.

use crate::cli::text::{Style, TextTone, inline};
use crate::control::human::duration;
use crate::control::protocol::LoginPage;

/// Where to go, and what to do where the browser can't come back.
pub(in crate::cli) fn screen(page: &LoginPage, style: Style) -> String {
    let mut text = format!(
        "To log in to {}, open this page in a browser:\n\n{}\n\n",
        inline(&page.display_name),
        inline(&page.url)
    );
    if !page.trusted_uri {
        let warning = "The page is not on the provider's own host: open it only if you trust it.";
        text += &style.paint(TextTone::Bad, warning);
        text.push('\n');
    }
    let how = match &page.deaf {
        Some(why) => {
            format!(
                "{}, so the browser can't report back.\nAfter the login, copy the address that the \
                 browser ends at (it starts with\n{}) and paste it here.\n",
                inline(why),
                inline(&page.redirect_uri)
            )
        }
        None => {
            format!(
                "If the browser runs on another machine, it ends at an address that it can't open \
                 (it starts\nwith {}): copy that address and paste it here.\n",
                inline(&page.redirect_uri)
            )
        }
    };
    let life = duration(page.expires_in_seconds);
    text + &how + &format!("You have {life}. Waiting for the login …\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> LoginPage {
        LoginPage {
            session: 7,
            provider: "example".into(),
            display_name: "example".into(),
            url: "https://auth.example.com/authorize?response_type=code&client_id=me\
                  &redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fcallback&state=s&code_challenge=c\
                  &code_challenge_method=S256"
                .into(),
            redirect_uri: "http://127.0.0.1:4711/callback".into(),
            deaf: None,
            expires_in_seconds: 900,
            trusted_uri: true,
        }
    }

    #[test]
    fn the_pages_address_is_a_line_of_its_own_and_pasting_is_explained() {
        let text = screen(&page(), Style::PLAIN);
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let golden = root.join("tests/golden/cli/login_page.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(golden).unwrap());
        assert!(text.lines().any(|line| line == page().url), "{text}");
        assert!(
            text.contains("paste it here") && text.contains("15 min"),
            "{text}"
        );
        assert!(!text.contains("trust"), "{text}");
    }

    #[test]
    fn who_has_the_port_is_told_and_so_is_a_page_elsewhere() {
        let page = LoginPage {
            deaf: Some("Port 1455 is used by codex (pid 42)".into()),
            trusted_uri: false,
            ..page()
        };
        let text = screen(&page, Style::PLAIN);
        for words in [
            "codex (pid 42), so the browser can't report back",
            "only if you trust it",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }
}
