//! Which answers a redirect listener accepts and which it refuses, over real sockets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

/// A listener with a login behind it.
struct Open {
    port: u16,
    state: String,
    arrivals: mpsc::Receiver<RedirectAnswer>,
    answering: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn opened(redirect: &Redirect) -> Open {
    let way_back = open(redirect).await.unwrap();
    let port = way_back.uri.port().unwrap();
    let attempt = Arc::new(BrowserAttempt::new(way_back.uri).unwrap());
    let page = attempt.page("https://auth.example/".parse().unwrap(), []);
    let mut pairs = page.query_pairs();
    let state = pairs.find(|(name, _)| name == "state").unwrap().1;
    let (sender, arrivals) = mpsc::channel(1);
    let door = way_back.door.unwrap();
    let answering = TaskTracker::new().spawn(async move {
        door.answer(&attempt, &sender, &TaskTracker::new()).await;
    });
    Open {
        port,
        state: state.into_owned(),
        arrivals,
        answering,
    }
}

async fn send(address: SocketAddr, request: String) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(port: u16, target: &str, host: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    send((Ipv4Addr::LOCALHOST, port).into(), request).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn an_answer_with_the_state_goes_on_and_the_browser_is_told_the_end_in_plain_html() {
    let mut open = opened(&Redirect::AnyPort("/callback")).await;
    let (port, host) = (open.port, format!("127.0.0.1:{}", open.port));
    let target = format!("/callback?code=abcdef&state={}", open.state);
    let asking = TaskTracker::new().spawn(async move { get(port, &target, &host).await });
    let arrival = open.arrivals.recv().await.unwrap();
    assert!(matches!(arrival.callback, Callback::Code(_)));
    let told = LoginResult::Done("<b>Example</b> & Co".to_owned());
    arrival.browser.unwrap().send(told).unwrap();
    let answer = asking.await.unwrap();
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(
        answer.contains("logged in to &lt;b&gt;Example&lt;/b&gt; &amp; Co"),
        "{answer}"
    );
    for part in ["no-store", "no-referrer", "nosniff", "default-src 'none'"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert!(
        !answer.contains("<script") && !answer.contains("abcdef"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_forged_is_refused_and_the_login_still_waits() {
    let mut open = opened(&Redirect::AnyPort("/callback")).await;
    let (port, state) = (open.port, open.state.clone());
    let good = format!("/callback?code=abcdef&state={state}");
    let here = format!("localhost:{port}");
    for (target, host, expected) in [
        ("/callback?code=evilcode".to_owned(), here.as_str(), "400"),
        ("/callback?code=evilcode&state=x".to_owned(), &here, "400"),
        (
            format!("/callback?code=evilcode&state={state}&state=x"),
            &here,
            "400",
        ),
        (
            "/callback?error=access_denied&state=x".to_owned(),
            &here,
            "400",
        ),
        ("/favicon.ico".to_owned(), &here, "404"),
        (good.replace("/callback", "/"), &here, "404"),
        // A name that resolves here through DNS rebinding, and another port of ours.
        (good.clone(), "evil.example", "403"),
        (good.clone(), &format!("evil.example:{port}"), "403"),
        (good.clone(), "127.0.0.1:1", "403"),
        (good.clone(), "127.0.0.1", "403"),
        (good.clone(), "", "403"),
    ] {
        let answer = get(port, &target, host).await;
        assert_eq!(status(&answer), expected, "{target} {host}: {answer}");
        assert!(!answer.contains("evilcode"), "{answer}");
    }
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let post = format!("POST {good} HTTP/1.1\r\nhost: {here}\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(status(&send(address, post).await), "405");
    let two = format!("GET {good} HTTP/1.1\r\nhost: {here}\r\nhost: {here}\r\n\r\n");
    assert_ne!(status(&send(address, two).await), "200");
    assert!(open.arrivals.try_recv().is_err(), "something was taken");

    // The first valid answer is accepted, and no second one.
    let first = {
        let (good, here) = (good.clone(), here.clone());
        TaskTracker::new().spawn(async move { get(port, &good, &here).await })
    };
    while open.arrivals.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&get(port, &good, &here).await), "409");
    drop(open.arrivals.recv().await);
    assert!(first.await.unwrap().contains("cancelled"));
}

/// Another user could read the `state` from the browser's command line, send a code, and close the connection before
/// its user is looked up.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_answer_of_a_client_that_has_closed_already_is_not_taken() {
    let way_back = open(&Redirect::AnyPort("/callback")).await.unwrap();
    let port = way_back.uri.port().unwrap();
    let attempt = Arc::new(BrowserAttempt::new(way_back.uri).unwrap());
    let page = attempt.page("https://auth.example/".parse().unwrap(), []);
    let mut pairs = page.query_pairs();
    let state = pairs.find(|(name, _)| name == "state").unwrap().1;
    let request = format!(
        "GET /callback?code=another&state={state} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n"
    );
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    let (sender, mut arrivals) = mpsc::channel(1);
    let (door, tasks) = (way_back.door.unwrap(), TaskTracker::new());
    let answering = door.answer(&attempt, &sender, &tasks);
    let answered = tokio::time::timeout(Duration::from_millis(300), answering).await;
    assert!(answered.is_err() && arrivals.try_recv().is_err());
}

#[tokio::test]
async fn a_fixed_address_is_open_under_both_of_its_numbers() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let uri: Url = format!("http://localhost:{port}/auth/callback")
        .parse()
        .unwrap();
    let open = opened(&Redirect::Fixed(uri)).await;
    for address in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        let request = format!("GET /x HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n");
        let answer = send(SocketAddr::new(address, open.port), request).await;
        assert_eq!(status(&answer), "404", "{address}");
    }
}

#[tokio::test]
async fn who_has_a_fixed_port_is_told_whichever_number_it_is() {
    for address in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        let other = TcpListener::bind((address, 0)).await.unwrap();
        let port = other.local_addr().unwrap().port();
        let uri: Url = format!("http://localhost:{port}/auth/callback")
            .parse()
            .unwrap();
        let way_back = open(&Redirect::Fixed(uri.clone())).await.unwrap();
        assert!(way_back.door.is_none(), "{address}");
        assert_eq!(way_back.uri, uri);
        let deaf = way_back.deaf.unwrap();
        assert!(
            deaf.starts_with(&format!("Port {port} is used by ")),
            "{deaf}"
        );
        assert!(deaf.contains(&std::process::id().to_string()), "{deaf}");
    }
}
