//! Conversations.

use serde_json::{Value, json};

use super::TEXTS;

/// A text and its speaker.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn conversations() -> Vec<(&'static str, Value)> {
    let call = |id: &str, name: &str, said: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": said}});
    let result =
        |id: &str, said: Value| json!({"role": "tool", "tool_call_id": id, "content": said});
    let user = |content: Value| json!({"role": "user", "content": content});
    let system = |content: Value| json!({"role": "system", "content": content});
    let assistant = |content: Value| json!({"role": "assistant", "content": content});
    let text = |text: &str| json!({"type": "text", "text": text});
    let mut all = vec![
        ("one text", json!([{"role": "user", "content": "Hi"}])),
        (
            "a system's words",
            json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]),
        ),
        (
            "a developer's words",
            json!([{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]),
        ),
        (
            "a name",
            json!([{"role": "user", "name": "bob", "content": "Hi"}]),
        ),
        (
            "parts",
            json!([{"role": "user", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]}]),
        ),
        (
            "a single part",
            json!([{"role": "user", "content": [{"type": "text", "text": "One."}]}]),
        ),
        (
            "an image",
            json!([{"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}]}]),
        ),
        (
            "images",
            json!([{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/b.png", "detail": "high"}}]}]),
        ),
        (
            "an image's address alone",
            json!([{"role": "user", "content": [
            {"type": "image_url", "image_url": "https://example.com/a.png"}]}]),
        ),
        (
            "a file",
            json!([{"role": "user", "content": [
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]}]),
        ),
        (
            "a cache's mark",
            json!([{"role": "user", "content": [
            {"type": "text", "text": "Long.", "prompt_cache_breakpoint": {"mode": "explicit"}}, {"type": "text", "text": "Short."}]}]),
        ),
        (
            "turns",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]),
        ),
        (
            "an answer as an SDK sends it back",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "refusal": null, "annotations": [], "audio": null, "function_call": null, "tool_calls": null},
            {"role": "user", "content": "c"}]),
        ),
        (
            "what was thought",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "reasoning_content": "hm", "reasoning": "hm", "reasoning_details": [{"text": "hm"}]},
            {"role": "user", "content": "c"}]),
        ),
        (
            "a refusal",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "refusal": "No."}, {"role": "user", "content": "c"}]),
        ),
        (
            "a refusal in parts",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, {"role": "user", "content": "c"}]),
        ),
        (
            "a call",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [call("c1", "f", "{}")]}, result("c1", "done".into())]),
        ),
        (
            "a call beside no words",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call("c1", "f", "{\"x\":\"\\u00fc\"}")]}, result("c1", "".into())]),
        ),
        (
            "parallel calls",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call("c1", "f", "{}"), call("c2", "g", "{\"a\":1.0}"), call("c3", "f", "")]},
            result("c2", "two".into()), result("c1", "one".into()),
            result("c3", json!([{"type": "text", "text": "three"}, {"type": "text", "text": "four"}])),
            {"role": "assistant", "content": "Done."}, {"role": "user", "content": "more"}]),
        ),
        (
            "calls one after the other",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [call("c1", "f", "{}")]}, result("c1", "one".into()),
            {"role": "assistant", "content": null, "tool_calls": [call("c2", "f", "{}")]}, result("c2", "two".into())]),
        ),
        (
            "a custom call",
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls\n"}}]},
            result("c1", "a.txt".into())]),
        ),
        // As apps send them.
        (
            "tags of a bookmark",
            json!([user("You are an expert whose responsibility is to help with automatic tagging for a read-it-later app.\nPlease analyze the TEXT_CONTENT below and suggest relevant tags.\n\n<TEXT_CONTENT>\nRust 1.95 \u{2013} what\u{2019}s new\n</TEXT_CONTENT>\n\nYou must respond in valid JSON with the key \"tags\" and the value is list of tags.".into())]),
        ),
        (
            "tags of an image",
            json!([user(json!([{"type": "text", "text": "Suggest tags. Respond in JSON."},
                {"type": "image_url", "image_url": {"url": "data:image/webp;base64,UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAgA0JaQAA3AA/vv9UAA=", "detail": "low"}}]))]),
        ),
        (
            "a title for a chat",
            json!([user("### Task:\nGenerate a concise, 3-5 word title with an emoji.\n### Output:\nJSON format: { \"title\": \"\u{1f4ca} \u{2026}\" }\n### Chat History:\n<chat_history>\nUSER: hi\nASSISTANT: hello\n</chat_history>".into())]),
        ),
        (
            "sources in a system's words",
            json!([system("### Task:\nRespond using [id].\n<context>\n<source id=\"1\" name=\"a.pdf\">x &lt; y</source>\n</context>".into()), user("What is x?".into())]),
        ),
        (
            "a patch for a file",
            json!([system("Act as an expert software developer.\nReply with *SEARCH/REPLACE* blocks.".into()),
                user("src/a.py\n```python\nprint(\"a\\n\")\n```".into()), assistant("Ok.".into()), user("Print b.".into()),
                assistant("src/a.py\n```\n<<<<<<< SEARCH\nprint(\"a\\n\")\n=======\nprint(\"b\\n\")\n>>>>>>> REPLACE\n```".into()),
                user("Thanks.".into())]),
        ),
        (
            "an agent's turn",
            json!([system("You are helpful.".into()), user("Weather in Bonn?".into()),
                {"role": "assistant", "content": "", "tool_calls": [call("call_Ab3", "weather", "{\"city\": \"Bonn\"}")], "refusal": null},
                {"role": "tool", "tool_call_id": "call_Ab3", "name": "weather", "content": "{\"temp\": 3.50, \"unit\": \"C\"}"},
                assistant("3.5 °C.".into()), user("And tomorrow?".into())]),
        ),
        (
            "a home that is controlled",
            json!([system("You are a voice assistant for Home Assistant.\nStatic Context:\n- names: Küche\n  domain: light".into()),
                user("turn on the kitchen".into()),
                {"role": "assistant", "content": null, "tool_calls": [call("01K", "HassTurnOn", "{\"name\":\"Küche\",\"domain\":[\"light\"]}")]},
                result("01K", "{\"speech\":{},\"response_type\":\"action_done\"}".into())]),
        ),
        (
            "parts on both sides",
            json!([user(json!([text("Hi"), text("there")])), {"role": "assistant", "content": [text("Hello"), text("again")]}, user(json!([text("Bye")]))]),
        ),
        (
            "a picture between words",
            json!([user(json!([text("Before:"), {"type": "image_url", "image_url": {"url": "https://example.com/ä.png?a=1&b=%20", "detail": "auto"}},
                text("after:"), {"type": "image_url", "image_url": {"url": "https://example.com/2.png", "detail": "original"}}, text("Compare.")]))]),
        ),
        (
            "an image that is talked about later",
            json!([user(json!([{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQSkZJRg=="}}])), assistant("A cat.".into()), user("Which colour?".into())]),
        ),
        (
            "a file by id",
            json!([user(json!([{"type": "file", "file": {"file_id": "file-abc"}}, text("Summarize.")]))]),
        ),
        (
            "two files",
            json!([user(json!([{"type": "file", "file": {"filename": "a b.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
                {"type": "file", "file": {"filename": "ü.txt", "file_data": "data:text/plain;base64,w7w="}}]))]),
        ),
        ("Arabic", json!([system("أجب بإيجاز.".into()), user("ما هي عاصمة مصر؟ \u{202b}القاهرة\u{202c}".into())])),
        ("Hindi and Thai", json!([user("नमस्ते, क्षि".into()), assistant("สวัสดี".into()), user("ज़्यादा".into())])),
        ("Japanese", json!([user("「吾輩は猫である」を𠮷野家で読む。ﾊﾝｶｸ".into())])),
        ("emoji", json!([user("👩🏽‍🚀🏳️‍🌈🇩🇪#️⃣ \u{1f9d1}\u{200d}\u{1f4bb}".into()), assistant("👍".into()), user("🙃".into())])),
        ("controls", json!([user("\u{1}\u{8}\u{c}\u{b}\u{1b}[31mred\u{1b}[0m\u{85}\u{a0}\u{2029}".into())])),
        ("marks of order", json!([user("\u{200e}a\u{200f}b\u{2066}c\u{2069}\u{fffd}\u{fffe}\u{10ffff}".into())])),
        ("a long text", json!([user("All work and no play makes Jack a dull boy. ".repeat(300).into())])),
        ("spaces alone", json!([user("   ".into()), assistant("\n".into()), user("\t".into())])),
        ("code", json!([user("```rust\nlet a = b'\\n'; // \\u{0}\nprintln!(\"{a:?}\");\n```\n```regex\n^\\d+\\\\$\n```".into())])),
        ("a formula", json!([user("$$\\int_0^1 \\frac{1}{x}\\,dx$$ \\(a\\)".into())])),
        ("two systems", json!([system("One.".into()), system("Two.".into()), user("Hi".into())])),
        ("a system late", json!([user("Hi".into()), assistant("Yes?".into()), system("Now in French.".into()), user("Go on.".into())])),
        ("a developer and parts", json!([{"role": "developer", "content": [text("Be brief."), text("Be kind.")]}, user("Hi".into())])),
        ("a system in one part", json!([{"role": "system", "content": [text("Be brief.")]}, user("Hi".into())])),
        ("two users", json!([{"role": "user", "name": "ann", "content": "a"}, {"role": "user", "name": "bob", "content": "b"}])),
        ("an answer that is begun", json!([user("Count.".into()), assistant("1, 2,".into())])),
        ("words and a refusal", json!([user("a".into()), {"role": "assistant", "content": "Well.", "refusal": "No."}, user("c".into())])),
        ("words and a refusal in parts", json!([user("a".into()), {"role": "assistant", "content": [text("Well."), {"type": "refusal", "refusal": "Nein, ü."}]}, user("c".into())])),
        (
            "a tool that fails",
            json!([user("a".into()), {"role": "assistant", "content": null, "tool_calls": [call("c1", "f", "{}")]}, result("c1", "Error: 404\nTraceback (most recent call last):\n  File \"a\"".into()),
                {"role": "assistant", "content": "Again.", "tool_calls": [call("c2", "f", "{\"retry\":true}")]}, result("c2", json!([])), assistant("Done.".into())]),
        ),
        (
            "two rounds of parallel calls",
            json!([user("a".into()), {"role": "assistant", "content": null, "tool_calls": [call("a1", "f", "{\"n\":1}"), call("a2", "f", "{\"n\":2}")]}, result("a1", "1".into()), result("a2", "2".into()),
                {"role": "assistant", "content": null, "tool_calls": [call("b1", "g", "{}"), call("b2", "f", "{}"), call("b3", "h", "{}"), call("b4", "f", "{}"), call("b5", "f", "{}")]},
                result("b5", "5".into()), result("b4", "4".into()), result("b3", "3".into()), result("b2", "2".into()), result("b1", "1".into()), user("And?".into())]),
        ),
        (
            "arguments that are not JSON",
            json!([user("a".into()), {"role": "assistant", "content": null, "tool_calls": [call("c1", "f", "{\"a\": "), call("c2", "f", " \n"), call("c3", "f", "{\"a\":1e400,\"b\":\"\\ud83d\"}")]},
                result("c1", "x".into()), result("c2", "y".into()), result("c3", "z".into())]),
        ),
        (
            "odd names and ids",
            json!([user("a".into()), {"role": "assistant", "content": null, "tool_calls": [call("toolu_01|fc_ü \"x\"", "mcp__files__read-file", "{}")]}, result("toolu_01|fc_ü \"x\"", "ok".into())]),
        ),
        (
            "both kinds of calls",
            json!([user("a".into()), {"role": "assistant", "content": null, "tool_calls": [call("c1", "f", "{}"), {"id": "c2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin Patch\n+\"a\"\n"}}]},
                result("c2", "patched".into()), result("c1", "done".into())]),
        ),
        (
            "many turns",
            Value::Array((0..12).map(|turn| if turn % 2 == 0 { user(format!("Question {turn}?").into()) } else { assistant(format!("Answer {turn}.").into()) }).collect()),
        ),
        (
            "caches' marks",
            json!([{"role": "system", "content": [{"type": "text", "text": "Long.", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
                user(json!([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}, "prompt_cache_breakpoint": {"mode": "explicit"}}, text("x")]))]),
        ),
    ];
    all.extend(TEXTS.map(|text| ("words", json!([{"role": "system", "content": text}, {"role": "user", "content": text},
        {"role": "assistant", "content": format!("{text}.")}, {"role": "user", "content": [{"type": "text", "text": text}]}]))));
    all
}
