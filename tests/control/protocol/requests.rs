//! What is asked.

use super::*;

#[test]
fn the_requests() {
    for (name, op) in [
        ("status", Operation::Status),
        ("providers", Operation::Providers),
        ("models", Operation::Models),
        ("own_mark", Operation::OwnMark),
        ("log", Operation::Log(LogFrom { from: 7 })),
        ("stop", Operation::Stop),
        ("restart", Operation::Restart),
        ("reload", Operation::Reload),
        ("clients", Operation::Clients),
        ("unknown", Operation::Unknown("dance".into())),
    ] {
        golden(
            &format!("request_{name}.json"),
            &ControlRequest { id: 1, op },
        );
    }
}

#[test]
fn the_requests_about_logins() {
    let begin = LoginBegin {
        provider: Some("nous".into()),
        separate: true,
        force: false,
        way: LoginWay::Code,
        label: None,
    };
    let added = LoginBegin {
        label: Some("work".into()),
        ..begin.clone()
    };
    let browser = LoginBegin {
        provider: Some("example".into()),
        way: LoginWay::Browser,
        ..LoginBegin::default()
    };
    let paste = LoginPaste {
        session: 7,
        text: IssuedKey::new("http://127.0.0.1:4711/callback?code=secret&state=secret".into()),
    };
    let session = LoginSession { session: 7 };
    let nous = ProviderChoice {
        provider: Some("nous".into()),
        store: None,
        label: None,
    };
    let work = LoginChoice {
        provider: Some("xai".into()),
        label: Some("work".into()),
    };
    for (name, op) in [
        ("login_begin", Operation::LoginBegin(begin)),
        ("login_begin_browser", Operation::LoginBegin(browser)),
        ("login_wait", Operation::LoginWait(session)),
        ("login_cancel", Operation::LoginCancel(session)),
        ("login_paste", Operation::LoginPaste(paste)),
        ("logout", Operation::Logout(nous.clone())),
        ("refresh", Operation::Refresh(nous)),
        ("login_begin_label", Operation::LoginBegin(added)),
        ("logins", Operation::Logins),
        ("login_reset", Operation::LoginReset(work.clone())),
        ("login_remove", Operation::LoginRemove(work)),
    ] {
        let request = ControlRequest { id: 1, op };
        golden(&format!("request_{name}.json"), &request);
        assert!(!format!("{request:?}").contains("secret"), "{request:?}");
    }
}

#[test]
fn the_requests_about_clients() {
    let add = ClientAdd {
        name: "karakeep".into(),
        providers: vec!["nous".into()],
        paths: vec!["/chat/completions".into()],
        in_flight: Some(2),
        ..ClientAdd::default()
    };
    let karakeep = ClientChoice {
        name: "karakeep".into(),
    };
    let change = ClientChange {
        set: ClientAdd {
            name: "karakeep".into(),
            limits: ClientLimits {
                tokens_per_day: Some(2_000_000),
                ..ClientLimits::default()
            },
            ..ClientAdd::default()
        },
        clear: vec![ClientLimit::InFlight, ClientLimit::Models],
    };
    let import = ClientImport {
        keys: vec![ImportedKey {
            label: "Agent A".into(),
            key: IssuedKey::new("client-secret-of-agent-a".into()),
        }],
    };
    for (name, op) in [
        ("client_add", Operation::ClientAdd(add)),
        ("client_revoke", Operation::ClientRevoke(karakeep.clone())),
        ("client_rotate", Operation::ClientRotate(karakeep)),
        ("client_change", Operation::ClientChange(change)),
        ("client_import", Operation::ClientImport(import)),
    ] {
        let request = ControlRequest { id: 1, op };
        golden(&format!("request_{name}.json"), &request);
        assert!(!format!("{request:?}").contains("secret"), "{request:?}");
    }
}

#[test]
fn what_a_request_leaves_out_is_the_usual() {
    for (op, meant) in [
        (
            r#"{"in_flight":{}}"#,
            Operation::InFlight(InFlightQuery::default()),
        ),
        (
            r#"{"client_add":{"name":""}}"#,
            Operation::ClientAdd(ClientAdd::default()),
        ),
        (
            r#"{"login_begin":{}}"#,
            Operation::LoginBegin(LoginBegin::default()),
        ),
        (
            r#"{"logout":{}}"#,
            Operation::Logout(ProviderChoice::default()),
        ),
        (
            r#"{"refresh":{}}"#,
            Operation::Refresh(ProviderChoice::default()),
        ),
    ] {
        let line = format!(r#"{{"id":1,"op":{op}}}"#);
        let request: ControlRequest = codec::parse(line.as_bytes()).unwrap();
        assert_eq!(request.op, meant);
    }
}

#[test]
fn an_operation_of_tomorrow_is_named_with_arguments_too() {
    for op in [
        r#""dance""#,
        r#"{"dance":{"steps":[1,2]}}"#,
        r#"{"dance":null}"#,
    ] {
        let line = format!(r#"{{"id":1,"op":{op}}}"#);
        let request: ControlRequest = codec::parse(line.as_bytes()).unwrap();
        assert_eq!(request.op, Operation::Unknown("dance".into()), "{op}");
    }
}

#[test]
fn what_names_no_operation_is_no_request() {
    for op in [
        "1",
        "null",
        "[]",
        "{}",
        r#"{"a":1,"b":2}"#,
        r#""login_wait""#,
        r#"{"login_begin":1}"#,
        r#"{"login_wait":{"session":"7"}}"#,
        r#"{"login_cancel":{}}"#,
        r#"{"logout":{"provider":1}}"#,
        r#"{"refresh":"nous"}"#,
        r#""client_add""#,
        r#"{"client_add":{}}"#,
        r#"{"client_add":{"name":"a","in_flight":-1}}"#,
        r#"{"client_revoke":{"name":null}}"#,
        r#"{"client_rotate":"a"}"#,
        r#"{"client_change":{"name":"a","clear":["name"]}}"#,
        r#"{"client_import":{"keys":{"a":"b"}}}"#,
    ] {
        let line = format!(r#"{{"id":1,"op":{op}}}"#);
        assert!(
            codec::parse::<ControlRequest>(line.as_bytes()).is_err(),
            "{op}"
        );
    }
}
