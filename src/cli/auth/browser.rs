//! Opens the user's browser, if the user is at this machine.

/// Opens the page for a person who can see it; otherwise, and when it fails, says nothing, as the
/// page is on the screen. `is_trusted` says that it is the provider's own.
pub(super) fn show(page: &str, is_trusted: bool) {
    let variable = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_trusted || !page.starts_with("https://") || !has_screen(variable) {
        return;
    }
    let page = page.to_owned();
    // Looks a moment whether the browser starts.
    drop(tokio::task::spawn_blocking(move || {
        open::that_detached(page).ok()
    }));
}

/// Whether a window would open before the user, by what the environment holds.
fn has_screen(variable: impl Fn(&str) -> bool) -> bool {
    let elsewhere = ["SSH_CONNECTION", "SSH_TTY"];
    if elsewhere.into_iter().any(&variable) {
        return false;
    }
    let windows = cfg!(any(target_os = "macos", windows));
    windows || ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(&variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_ssh_no_browser_opens_even_with_a_display() {
        for remote in ["SSH_CONNECTION", "SSH_TTY"] {
            assert!(!has_screen(|name| [remote, "DISPLAY"].contains(&name)));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_display_is_needed() {
        assert!(!has_screen(|_| false));
        assert!(has_screen(|name| name == "DISPLAY"));
        assert!(has_screen(|name| name == "WAYLAND_DISPLAY"));
    }
}
