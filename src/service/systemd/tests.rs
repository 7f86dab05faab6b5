//! Which commands run in which order, with a fake systemd.

use std::collections::BTreeMap;

use super::super::tool::fake::Script;
use super::*;

struct Fixture {
    home: tempfile::TempDir,
    script: Script,
    systemd: Systemd,
}

const ABSENT: &str = "LoadState=not-found\nUnitFileState=\nFragmentPath=\nMainPID=0\n";

impl Fixture {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let script = Script::default();
        script.says(" show ", ABSENT);
        script.fails("show-user", "User ID 1000 is not logged in or lingering");
        let path = home.path().to_owned();
        let environment = Environment::from_lookup(|name| {
            (name == "HOME" || name == "USERPROFILE").then(|| path.clone().into_os_string())
        });
        let systemd = Systemd::with(Box::new(script.clone()), &environment, 1000).unwrap();
        Self {
            home,
            script,
            systemd,
        }
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.home.path().join(".config/systemd/user").join(name)
    }

    fn is_shown(&self, part: &'static str, path: &Path, more: &str) {
        let said = format!("LoadState=loaded\nFragmentPath={}\n{more}", path.display());
        self.script.says(part, &said);
    }
}

fn plan() -> InstallPlan {
    InstallPlan {
        daemon: "/opt/bin/hermes-proxyd".into(),
        ctl: "/opt/bin/hermesctl".into(),
        variables: BTreeMap::new(),
        socket: None,
    }
}

fn outcomes(steps: &[ServiceStep]) -> Vec<&StepOutcome> {
    steps.iter().map(|step| &step.outcome).collect()
}

#[tokio::test]
async fn it_is_installed_once_and_taken_back() {
    let fixture = Fixture::new();
    let unit = fixture.unit("hermes-proxyd.service");
    let installed = fixture.systemd.install(&plan()).await.unwrap();
    assert!(installed.changed);
    assert_eq!(outcomes(&installed.steps), [&StepOutcome::Done; 3]);
    assert_eq!(
        fixture.script.done(),
        [
            "systemctl --user daemon-reload",
            "systemctl --user enable hermes-proxyd.service",
            "loginctl --no-ask-password enable-linger 1000",
        ]
    );

    fixture.is_shown(
        "hermes-proxyd.service",
        &unit,
        "UnitFileState=enabled\nActiveState=active\n",
    );
    fixture.script.says("show-user", "yes\n");
    let again = fixture.systemd.install(&plan()).await.unwrap();
    assert!(!again.changed);
    assert_eq!(outcomes(&again.steps), [&StepOutcome::Already; 3]);
    assert!(fixture.script.done().is_empty());

    let steps = fixture.systemd.uninstall().await.unwrap();
    assert_eq!(outcomes(&steps), [&StepOutcome::Done; 3], "{steps:?}");
    assert!(!unit.exists());
    assert_eq!(
        fixture.script.done(),
        [
            "systemctl --user disable --now hermes-proxyd.service",
            "systemctl --user daemon-reload",
            "systemctl --user reset-failed hermes-proxyd.service",
            "loginctl --no-ask-password disable-linger 1000",
        ]
    );
    fixture.script.says(" show ", ABSENT);
    assert!(fixture.systemd.uninstall().await.unwrap().is_empty());
}

#[tokio::test]
async fn lingering_of_somebody_else_stays_and_a_refusal_names_the_command() {
    let fixture = Fixture::new();
    fixture.script.says("show-user", "yes\n");
    fixture.systemd.install(&plan()).await.unwrap();
    fixture.systemd.uninstall().await.unwrap();
    let lines = fixture.script.done();
    assert!(
        !lines.iter().any(|line| line.contains("linger")),
        "{lines:?}"
    );

    fixture.script.says("show-user", "no\n");
    fixture
        .script
        .fails("enable-linger", "Could not enable linger: Access denied");
    let installed = fixture.systemd.install(&plan()).await.unwrap();
    let StepOutcome::Left(advice) = &installed.steps.last().unwrap().outcome else {
        panic!("{installed:?}");
    };
    assert!(
        advice.contains("sudo loginctl enable-linger 1000"),
        "{advice}"
    );
}

#[tokio::test]
async fn the_unit_of_a_package_or_of_the_user_is_only_enabled() {
    let fixture = Fixture::new();
    let packaged = Path::new("/usr/lib/systemd/user/hermes-proxyd.service");
    let own = fixture.unit("hermes-proxyd.service");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    for path in [packaged, &own] {
        fixture.is_shown("hermes-proxyd.service", path, "");
        if path == own {
            std::fs::write(&own, "[Service]\nExecStart=/bin/true\n").unwrap();
        }
        let installed = fixture.systemd.install(&plan()).await.unwrap();
        assert!(!installed.changed);
        let state = fixture.systemd.state().await.unwrap();
        assert!(state.packaged);
    }
    let steps = fixture.systemd.uninstall().await.unwrap();
    assert!(
        matches!(&steps[0].outcome, StepOutcome::Left(why) if why.contains("did not write it"))
    );
    assert!(own.exists());
}

#[tokio::test]
async fn a_socket_takes_the_port_over_from_a_service_that_runs() {
    let fixture = Fixture::new();
    let unit = fixture.unit("hermes-proxyd.service");
    let socket = fixture.unit("hermes-proxyd.socket");
    let plan = InstallPlan {
        socket: Some("127.0.0.1:18645".to_owned()),
        ..plan()
    };
    fixture.systemd.install(&plan).await.unwrap();
    let drop_in = fixture.unit("hermes-proxyd.socket.d/address.conf");
    let text = std::fs::read_to_string(&drop_in).unwrap();
    assert!(text.contains("ListenStream=127.0.0.1:18645\n"), "{text}");

    fixture.is_shown("show", &unit, "ActiveState=active\nUnitFileState=enabled\n");
    fixture.is_shown("hermes-proxyd.socket", &socket, "UnitFileState=enabled\n");
    fixture.script.done();
    fixture.systemd.restart().await.unwrap();
    assert_eq!(
        fixture.script.done(),
        [
            "systemctl --user reset-failed hermes-proxyd.service",
            "systemctl --user stop hermes-proxyd.service",
            "systemctl --user start hermes-proxyd.socket",
            "systemctl --user start hermes-proxyd.service",
        ]
    );
    fixture.systemd.stop().await.unwrap();
    assert_eq!(
        fixture.script.done(),
        ["systemctl --user stop hermes-proxyd.socket hermes-proxyd.service"]
    );
    fixture.systemd.uninstall().await.unwrap();
    assert!(!drop_in.exists() && !drop_in.parent().unwrap().exists());
}

#[tokio::test]
async fn a_manager_that_is_not_there_is_told_with_what_starts_it() {
    let fixture = Fixture::new();
    fixture
        .script
        .fails("systemctl", "Failed to connect to bus: No medium found");
    let error = fixture.systemd.state().await.unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.contains("sudo loginctl enable-linger 1000"), "{hint}");
    assert!(hint.contains("hermesctl proxy start"), "{hint}");
}

#[tokio::test]
async fn nothing_that_is_not_installed_is_started() {
    let fixture = Fixture::new();
    let error = fixture.systemd.start().await.unwrap_err();
    assert!(matches!(error, ServiceError::NotInstalled));
    let error = fixture.systemd.stop().await.unwrap_err();
    assert!(matches!(error, ServiceError::NotInstalled));
}
