use std::os::unix::net::UnixListener;

use super::*;

fn machine(folder: &Path) -> HostMachine {
    HostMachine {
        root: folder.to_owned(),
        home: Some(folder.join("home")),
        runtime: Some(folder.join("runtime")),
        programs: vec![folder.join("bin")],
        is_root: false,
    }
}

fn found(machine: &HostMachine) -> Vec<(EngineKind, EngineState)> {
    let engines = find(machine).into_iter();
    engines.map(|engine| (engine.kind, engine.state)).collect()
}

#[test]
fn engines_are_found_by_living_sockets_and_programs() {
    let dir = tempfile::tempdir().unwrap();
    let machine = machine(dir.path());
    for folder in ["home/.docker", "runtime/podman", "bin", "run"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    assert_eq!(found(&machine), []);
    std::fs::write(dir.path().join("bin/docker"), "").unwrap();
    assert_eq!(
        found(&machine),
        [(EngineKind::Docker, EngineState::Stopped)]
    );
    let desktop = r#"{"currentContext": "desktop-linux"}"#;
    std::fs::write(dir.path().join("home/.docker/config.json"), desktop).unwrap();
    assert_eq!(
        found(&machine),
        [(EngineKind::DockerDesktop, EngineState::Stopped)]
    );
    let socket = UnixListener::bind(dir.path().join("run/docker.sock")).unwrap();
    assert_eq!(found(&machine), [(EngineKind::Docker, EngineState::Ready)]);
    // A dead socket's file stays.
    drop(socket);
    assert_eq!(
        found(&machine),
        [(EngineKind::DockerDesktop, EngineState::Stopped)]
    );
    std::fs::write(dir.path().join("bin/podman"), "").unwrap();
    let podman = (EngineKind::PodmanRootless, EngineState::Ready);
    assert!(found(&machine).contains(&podman));
    let machine = HostMachine {
        is_root: true,
        ..machine
    };
    assert!(found(&machine).contains(&(EngineKind::Podman, EngineState::Ready)));
}
