//! What a request or a whole answer becomes on the other wire is JSON, and the way back understands it.

use hermes_proxy::translate::{
    EchoedFields, TranslatedRequest, UntranslatableRequest, WholeTranslation,
    chat_on_responses as chat, error, responses_on_chat as responses,
};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

type Stage = fn(&[u8]) -> Result<TranslatedRequest, UntranslatableRequest>;

/// One input: which wire it is of, and a body.
pub fn run(bytes: &[u8]) {
    let Some((wire, body)) = bytes.split_first() else {
        return;
    };
    let is_chat = wire % 2 == 0;
    let (there, back): (Stage, Stage) = if is_chat {
        (chat::request, responses::request)
    } else {
        (responses::request, chat::request)
    };
    let there = there(body);
    match there {
        Ok(turned) => {
            is_json(&turned.body);
            let name = if is_chat { "input" } else { "messages" };
            // It may hold what is JSON and no value: half of a surrogate pair, `1e400`, and depths.
            if let Ok(made) = serde_json::from_slice::<Map<String, Value>>(&turned.body) {
                assert!(made[name].is_array());
            }
            // Values of a wrong kind pass to the provider, and tool results may be without their calls.
            match back(&turned.body) {
                Ok(again) => is_json(&again.body),
                Err(refused) => assert!(!refused.field.is_empty(), "{refused}"),
            }
        }
        Err(refused) => assert!(refused.to_string().contains(&refused.field)),
    }
    let asked = EchoedFields::default();
    let answer = if is_chat {
        chat::answer(body, &asked)
    } else {
        responses::answer(body, &asked)
    };
    match answer {
        Ok(WholeTranslation::Answer(made)) => {
            is_json(&made);
            let back = if is_chat {
                responses::answer(&made, &asked)
            } else {
                chat::answer(&made, &asked)
            };
            let Ok(WholeTranslation::Answer(again)) = back else {
                panic!("{back:?} of {}", made.escape_ascii());
            };
            is_json(&again);
        }
        Ok(WholeTranslation::Failed(made)) => is_json(&made),
        Err(_) => {}
    }
    let told: Value = serde_json::from_slice(&error(body)).expect("JSON");
    assert!(told["error"].is_object());
}

/// Half a surrogate pair is JSON too, and not a text.
fn is_json(text: &[u8]) {
    let text = std::str::from_utf8(text).expect("UTF-8");
    serde_json::from_str::<IgnoredAny>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
}
