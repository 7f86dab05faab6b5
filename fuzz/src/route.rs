//! Only a listed path is forwarded, however it is written.

use hermes_proxy::config::AllowedPath;
use hermes_proxy::proxy::route::{self, Route, Serves};
use hyper::Method;

struct Provider(&'static str, Vec<AllowedPath>);

impl Serves for Provider {
    fn name(&self) -> &str {
        self.0
    }

    fn paths(&self) -> &[AllowedPath] {
        &self.1
    }
}

/// One input.
pub fn run(bytes: &[u8]) {
    let Some((choice, target)) = bytes.split_first() else {
        return;
    };
    let Ok(target) = std::str::from_utf8(target) else {
        return;
    };
    let choice = usize::from(*choice);
    let path = |path, method| AllowedPath::new(path, &[method]);
    let providers = [
        Provider(
            "nous",
            vec![
                path("/chat/completions", Method::POST),
                path("/models", Method::GET),
            ],
        ),
        Provider("other", vec![path("/responses", Method::POST)]),
    ];
    let methods = [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS];
    let method = &methods[choice % methods.len()];
    let default = [None, Some(0), Some(1), Some(7)][choice / 4 % 4];
    match route::find(method, target, &providers, default) {
        Ok(Route::Forward { provider, path }) => {
            let allowed = &providers[provider].1[path];
            // HEAD is served wherever GET is.
            let asked = if *method == Method::HEAD {
                &Method::GET
            } else {
                method
            };
            assert!(allowed.methods.contains(asked) || allowed.methods.contains(method));
            // Every byte of it is in the table, in its order.
            let mut left: Vec<&str> = target.split('/').filter(|part| !part.is_empty()).collect();
            let listed: Vec<&str> = allowed.path.split('/').skip(1).collect();
            assert!(left.ends_with(&listed), "{target}");
            left.truncate(left.len() - listed.len());
            let named = left
                .first()
                .is_some_and(|name| name.eq_ignore_ascii_case(providers[provider].0));
            let extra = left.split_off(usize::from(named));
            assert!(named || default == Some(provider), "{target}");
            assert!(
                extra.len() <= 2 && extra.iter().all(|part| *part == "v1"),
                "{target}"
            );
        }
        Ok(Route::Model {
            provider,
            path,
            before,
        }) => {
            assert_eq!(providers[provider].1[path].path, "/models");
            assert!(matches!(*method, Method::GET | Method::HEAD));
            let id = route::model(target, before).expect("an id");
            assert!(!id.is_empty() && id.is_ascii() && !id.contains(['%', '\\', '?', '#', ' ']));
        }
        Ok(Route::Local(_)) => assert!(target.starts_with('/')),
        Err(error) => {
            assert!((400..500).contains(&error.kind.status().as_u16()));
            assert!(error.message.len() < 2000, "{}", error.message.len());
            error.response(route::error_format(target));
        }
    }
}
