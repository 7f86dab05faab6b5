//! What a stream costs that is translated, beside the same one passed through by the same daemon.

use super::Effort;
use super::common::cloud::{Cloud, Kind};
use super::common::daemon::{Daemon, Setting};
use super::load::{self, Load, Sample, Target, Wire};
use super::table::{self, Figure, Table};

/// Words in each stream, which is an event for each and a few around them.
const WORDS: usize = 500;

/// A provider of Chat Completions alone.
const NOUS: &str = "[providers.nous]\ntranslate = true\n";

/// Both directions, over few and many connections.
pub(crate) async fn streams(effort: Effort) {
    let title = format!("CPU for a stream of {WORDS} events");
    let mut table = Table::new(&title, &["translated", "passed", "ratio"]);
    let clouds = [Cloud::start(Kind::Codex), Cloud::start(Kind::Plain)];
    let codex = format!(
        "default_provider = \"openai-codex\"\n[providers.openai-codex]\nissuer_url = {:?}\nbase_url = {:?}\n",
        clouds[0].portal_url, clouds[0].base_url,
    );
    let worlds = [
        (codex, "a chat on Responses", Wire::Chat, Wire::Responses),
        (
            NOUS.to_owned(),
            "a response on chats",
            Wire::Responses,
            Wire::Chat,
        ),
    ];
    for (cloud, (config, label, app, native)) in clouds.iter().zip(worlds) {
        let mut setting = Setting::before(cloud);
        setting.config = Some(config);
        setting.client_keys = usize::from(app == Wire::Chat);
        let daemon = Daemon::start(&setting).await;
        for connections in [1, 32] {
            let mut samples = [Vec::new(), Vec::new()];
            for _ in 0..effort.rounds {
                for (wire, samples) in [app, native].into_iter().zip(&mut samples) {
                    let shape = (Load::Words(wire, WORDS), connections);
                    let target = Target::wire(&daemon, wire);
                    samples.push(load::run(&target, &daemon.process, shape, effort.turn).await);
                }
            }
            let label = format!("{label}, {connections} at a time");
            table.row(&label, &figures(samples), Some(Figure::Ratio(1.5)));
        }
    }
    table.print();
}

fn figures(samples: [Vec<Sample>; 2]) -> Vec<Figure> {
    let medians = samples.map(|samples| {
        let turns: Option<Vec<_>> = samples.iter().map(|sample| sample.cpu).collect();
        turns.map(|turns| table::median(turns).as_secs_f64() * 1e6)
    });
    match medians {
        [Some(translated), Some(passed)] => vec![
            Figure::Microseconds(translated),
            Figure::Microseconds(passed),
            Figure::Ratio(translated / passed),
        ],
        _ => vec![Figure::Unknown],
    }
}
