//! Guesses where an app runs. Pure.

use super::apps::App;
use crate::cli::args::AppLocationArg;
use crate::containers::{Engine, EngineState};

/// Where an app runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AppLocation {
    pub(super) place: AppLocationArg,
    /// Whether it connects through a Unix socket.
    pub(super) socket: bool,
    /// Why this was assumed, and what to type if it is wrong; `None` if it is certain.
    pub(super) lead: Option<String>,
}

impl AppLocation {
    /// As given by the user.
    pub(super) fn named(place: AppLocationArg, socket: bool) -> Self {
        Self {
            place,
            socket,
            lead: None,
        }
    }
}

/// In a container of the available engine, if the app usually runs in one or a socket is wanted; otherwise directly on
/// this machine.
pub(super) fn guess(app: &App, socket: bool, engines: &[Engine]) -> AppLocation {
    let Some(container) = &app.container else {
        return AppLocation::named(AppLocationArg::Bare, socket);
    };
    let (called, name) = (app.called(), app.name);
    let in_one = container.is_usual || socket;
    // A running engine, and the most common one of several: the list is in that order.
    let usable = engines.iter().filter(|_| in_one);
    let engine = usable.min_by_key(|engine| engine.state == EngineState::Stopped);
    let Some(engine) = engine else {
        return AppLocation {
            lead: Some(format!(
                "This is for {called} running directly on this machine. In a container, \
                 127.0.0.1 is the container itself. If it runs in one: `hermesctl connect {name} \
                 --from docker` (or podman, or docker-desktop)."
            )),
            ..AppLocation::named(AppLocationArg::Bare, socket)
        };
    };
    let place = AppLocationArg::from(engine.kind.origin());
    let others = [
        AppLocationArg::Docker,
        AppLocationArg::Podman,
        AppLocationArg::DockerDesktop,
    ];
    let others = others.into_iter().filter(|other| *other != place);
    let others: Vec<_> = others.map(AppLocationArg::name).collect();
    AppLocation {
        place,
        socket,
        lead: Some(format!(
            "This is for {called} in a {} container, because that engine is installed here. \
             Without a container: `hermesctl connect {name} --from bare`; with another engine: {} \
             instead of bare.",
            engine.kind.as_str(),
            others.join(" or ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::apps::by_name;
    use super::*;
    use crate::containers::EngineKind;

    fn engine(kind: EngineKind, state: EngineState) -> Engine {
        Engine {
            kind,
            state,
            found: "/run/x.sock".into(),
        }
    }

    fn guessed(app: &str, socket: bool, engines: &[Engine]) -> (AppLocationArg, bool, String) {
        let choice = guess(by_name(app).unwrap(), socket, engines);
        (choice.place, choice.socket, choice.lead.unwrap_or_default())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_app_of_containers_is_in_one_of_the_engine_that_is_here() {
        use EngineKind::{Docker, DockerDesktop, DockerRootless, Podman, PodmanRootless};
        for (kind, place) in [
            (Docker, AppLocationArg::Docker),
            (DockerRootless, AppLocationArg::Docker),
            (DockerDesktop, AppLocationArg::DockerDesktop),
            (Podman, AppLocationArg::Podman),
            (PodmanRootless, AppLocationArg::Podman),
        ] {
            let engines = [engine(kind, EngineState::Ready)];
            for app in [
                "karakeep",
                "open-webui",
                "n8n",
                "lobechat",
                "librechat",
                "paperless-gpt",
                "home-assistant",
            ] {
                let (found, by_socket, lead) = guessed(app, false, &engines);
                assert_eq!((found, by_socket), (place, false), "{app} {kind:?}");
                assert!(lead.contains(kind.as_str()), "{lead}");
                let command = format!("`hermesctl connect {app} --from bare`");
                assert!(lead.contains(&command), "{lead}");
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_engine_that_runs_goes_before_one_that_does_not() {
        let forbidden = engine(EngineKind::Docker, EngineState::Forbidden);
        let stopped = engine(EngineKind::Docker, EngineState::Stopped);
        let podman = engine(EngineKind::PodmanRootless, EngineState::Ready);
        for (engines, place) in [
            (
                vec![stopped.clone(), podman.clone()],
                AppLocationArg::Podman,
            ),
            (vec![forbidden, podman], AppLocationArg::Docker),
            (vec![stopped], AppLocationArg::Docker),
        ] {
            assert_eq!(guessed("karakeep", false, &engines).0, place, "{engines:?}");
        }
    }

    #[test]
    fn without_an_engine_or_a_habit_the_question_is_put() {
        let docker = [engine(EngineKind::DockerDesktop, EngineState::Ready)];
        for (app, engines) in [
            ("karakeep", &[][..]),
            ("openviking", &docker),
            ("openai", &docker),
        ] {
            let (place, _, lead) = guessed(app, false, engines);
            assert_eq!(place, AppLocationArg::Bare, "{app}");
            let command = format!("`hermesctl connect {app} --from docker`");
            assert!(lead.contains(&command), "{lead}");
        }
        assert!(
            guessed("openai", false, &[])
                .2
                .contains("for the app running")
        );
        assert_eq!(guessed("aider", false, &docker).2, "");
        // A socket always implies a container.
        let (place, socket, _) = guessed("openai", true, &docker);
        assert_eq!((place, socket), (AppLocationArg::DockerDesktop, true));
    }
}
