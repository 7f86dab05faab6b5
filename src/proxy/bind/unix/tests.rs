use super::*;

/// A program that can replace the socket gets the apps' prompts.
#[tokio::test]
async fn a_folder_in_which_others_could_replace_the_socket_is_refused() {
    let name = format!("hp-shared-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("s.sock");
    for (mode, refused) in [(0o777, true), (0o1777, false), (0o755, false)] {
        std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let bound = bind(&path, 0o600);
        let text = bound.map_or_else(|error| error.to_string(), |_| String::new());
        let advice = format!("run `chmod o-w {}`", folder.display());
        assert_eq!(text.contains(&advice), refused, "{mode:o} {text}");
    }
    std::fs::remove_dir(&folder).unwrap();
}

/// Two that start at the same moment both find no listener.
#[test]
fn a_socket_that_another_process_has_put_there_since_is_not_replaced() {
    let name = format!("hp-race-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).unwrap();
    let (path, hidden) = (folder.join("s.sock"), folder.join("hidden"));
    let listen = |path: &Path| std::os::unix::net::UnixListener::bind(path).unwrap();
    let theirs = listen(&path);
    let was = identity(&path).unwrap();
    let ours = listen(&hidden);
    let refused = put(&hidden, &path).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(identity(&path).unwrap(), was);
    // What a crash left is.
    drop(theirs);
    put(&hidden, &path).unwrap();
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    drop(ours);
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_dir(&folder).unwrap();
}

#[test]
fn a_socket_that_is_too_busy_to_accept_lives() {
    // Short enough for a socket's name, and gone with the test.
    let name = format!("hp-busy-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::remove_file(&path).ok();
    let listener = net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    net::listen(&listener, 0).unwrap();
    // The one that its queue has room for.
    let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let (said, says) = std::sync::mpsc::channel();
    let asked = path.clone();
    std::thread::spawn(move || said.send(is_dead(&asked)));
    let dead = says.recv_timeout(std::time::Duration::from_secs(5));
    assert_eq!(dead, Ok(false), "its queue is full");
    let refused = bind(&path, 0o600).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    drop((waiting, listener));
    assert!(is_dead(&path));
    std::fs::remove_file(&path).unwrap();
    assert!(!is_dead(&path), "nothing is there");
}
