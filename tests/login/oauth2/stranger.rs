//! The page "Add a provider", followed step by step without further knowledge: from nothing to a streamed answer.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use support::{PATIENCE, program};
use tokio::time::Instant;

use super::{World, options};

const PAGE: &str = "docs/add-a-provider.md";

/// The page's blocks with this mark, as they are.
fn blocks(mark: &str) -> Vec<String> {
    let text = std::fs::read_to_string(support::root().join(PAGE)).unwrap();
    let mark = format!("```{mark}\n");
    let parts = text.split(&mark).skip(1);
    let blocks = parts.map(|part| part.split("```").next().unwrap().to_owned());
    blocks.collect()
}

fn command(world: &World, line: &str) -> Command {
    let rest = line.strip_prefix("hermesctl ").unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    command.args(rest.split(' ')).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A daemon that a command has become.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_leads_from_nothing_to_a_streamed_answer() {
    let world = World::new(options()).await;
    let [table] = &blocks("toml acme")[..] else {
        panic!("one table")
    };
    assert!(table.lines().count() < 20, "{table}");
    world.write(
        &table
            .replace(
                "https://api.acme.example/v1",
                &world.cloud.inference_base_url(),
            )
            .replace("https://auth.acme.example", &world.cloud.portal_url()),
    );
    let steps = blocks("sh acme").concat();
    let (mut daemon, mut streamed) = (None, None);
    for line in steps.lines() {
        if line.starts_with("hermesctl auth login ") {
            let mut login = command(&world, line).spawn().unwrap();
            let said = BufReader::new(login.stderr.take().unwrap()).lines();
            let mut said = said.map_while(Result::ok);
            said.find(|line| line.contains("this code:")).unwrap();
            let code = said.next().unwrap();
            world.cloud.approve(code.trim());
            let output = login.wait_with_output().unwrap();
            assert!(output.status.success(), "{line}: {output:?}");
        } else if line == "hermesctl proxy start" {
            // Not the usual port: other tests run beside this one.
            let started = command(&world, &format!("{line} --port 0"))
                .spawn()
                .unwrap();
            daemon = Some(Running(started));
            let deadline = Instant::now() + PATIENCE;
            while !command(&world, "hermesctl proxy status")
                .output()
                .unwrap()
                .status
                .success()
            {
                assert!(Instant::now() < deadline, "it does not start");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        } else {
            let output = command(&world, line).output().unwrap();
            assert!(output.status.success(), "{line}: {output:?}");
            let said = String::from_utf8(output.stdout).unwrap();
            if line.contains("--stream") {
                streamed = Some(said);
            }
        }
    }
    assert!(daemon.is_some(), "{steps}");
    let streamed = streamed.unwrap_or_else(|| panic!("nothing was streamed: {steps}"));
    assert!(!streamed.is_empty(), "{steps}");
    let seen = world.cloud.requests();
    let body = String::from_utf8_lossy(&seen.last().unwrap().body).into_owned();
    assert!(body.contains("\"stream\":true"), "{body}");
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[test]
fn every_table_of_the_page_is_a_configuration() {
    for mark in ["toml acme", "toml umbra"] {
        for table in blocks(mark) {
            let environment = hermes_proxy::paths::Environment::default();
            let read = hermes_proxy::config::parse(&table, PAGE.as_ref(), &environment);
            assert!(read.is_ok(), "{read:?}");
        }
    }
}
