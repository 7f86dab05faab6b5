//! `[[route]]`, `[aliases]` and the default model.

use super::*;

#[test]
fn a_route_that_can_match_nothing_is_a_mistake_with_its_line() {
    for (text, line, key, message) in [
        (
            "[[route]]\nmodels = [\"x\"]\nprovider = \"nuos\"\n",
            3,
            "route[0].provider",
            "there is no provider `nuos`; there are: nous (did you mean `nous`?)",
        ),
        (
            "[[route]]\nmodels = [\"x\"]\n",
            1,
            "route[0].provider",
            "is missing: name the provider that these requests go to",
        ),
        (
            "[[route]]\nprovider = \"nous\"\n",
            1,
            "route[0]",
            "name `paths`, `models` or both; the provider of all other requests is \
             `default_provider`",
        ),
        (
            "[[route]]\nprovider = \"nous\"\nmodels = []\n",
            3,
            "route[0].models",
            "name at least one, or remove the key",
        ),
        (
            "[[route]]\nprovider = \"nous\"\nmodels = [\n\"ok\",\n\"\"]\n",
            5,
            "route[0].models[1]",
            "\"\" can't match a model: it is empty, longer than 512 bytes, or has blanks around it or \
             control characters",
        ),
        (
            "[[route]]\nprovider = \"nous\"\nmodels = [\"grok-?\"]\n",
            3,
            "route[0].models[0]",
            "\"grok-?\" can't match a model: `?` has no meaning here; `*` stands for any text",
        ),
        (
            "[[route]]\nprovider = \"nous\"\npaths = [\"a b\"]\n",
            3,
            "route[0].paths[0]",
            "\"a b\" is not a path below /v1, such as \"embeddings\" or \"chat/completions\"",
        ),
        (
            "[[route]]\nprovider = \"nous\"\nmodels = [\"*\"]\nmodel = \"x*\"\n",
            4,
            "route[0].model",
            "\"x*\" is not the name of a model: only the `models` of a [[route]] may contain `*`",
        ),
        (
            "[aliases]\nmini = \"x\"\n[[route]]\nprovider = \"nous\"\nmodels = [\"mini\"]\n",
            5,
            "route[0].models[0]",
            "matches nothing: \"mini\" is an alias under [aliases], and routes look at the model it \
             stands for, \"x\"",
        ),
        (
            "default_model = \" x\"\n",
            1,
            "default_model",
            "\" x\" is not the name of a model: remove the blanks around it and the control characters \
             in it",
        ),
        (
            "[aliases]\ngpt-4.1 = \"x\"\n",
            2,
            "aliases.gpt-4",
            "expected a string; a name with a dot in it needs quotes, found a table",
        ),
        (
            "aliases = [\"x\"]\n",
            1,
            "aliases",
            "expected lines such as \"gpt-5-mini\" = \"grok-4\" under [aliases], found an array",
        ),
    ] {
        let problem = problem(text);
        assert_eq!((problem.line, problem.key.as_str()), (line, key), "{text}");
        let found = Problem {
            key: String::new(),
            ..problem
        };
        assert_eq!(found.to_string(), message, "{text}");
    }
}

#[test]
fn aliases_that_go_round_are_a_mistake() {
    let text = "[aliases]\na = \"b\"\nb = \"c\"\nc = \"b\"\nd = \"d\"\n";
    let problems = problems(text);
    let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        "aliases.b: is an alias of itself: b -> c -> b",
        "aliases.d: is an alias of itself: d -> d",
    ];
    assert_eq!(found, expected);
}

/// Aliases used to be followed to their end once per preceding name, which took more than a minute here.
#[test]
fn a_long_chain_of_aliases_is_read_at_once_and_a_long_ring_is_told_in_short() {
    let chain = |end: &str| {
        let alias = |at: usize| format!("\"x/{at}\" = \"x/{}\"\n", at + 1);
        let aliases: String = (0..15_000).map(alias).collect();
        format!("[aliases]\n{aliases}\"x/15000\" = \"{end}\"\n")
    };
    let config = good(&chain("x/end"));
    assert_eq!(config.routing.without_alias("x/0"), "x/end");
    config.routing.warnings(&["nous"]);
    let ring = problem(&chain("x/0")).to_string();
    assert!(ring.contains(" -> … -> ") && ring.len() < 300, "{ring}");
}

#[test]
fn an_alias_to_a_provider_that_is_not_configured_is_warned_of() {
    const WORK: &str = "[providers.work]\ntype = \"static\"\nbase_url = \"https://w.example/v1\"\napi_key_env = \"W\"\n";
    for (text, expected) in [
        (
            "[aliases]\nfast = \"xai/grok-4\"\n",
            Some(("aliases.fast", "add [providers.xai]")),
        ),
        (
            "default_model = \"xai/grok-4\"\n",
            Some(("default_model", "add [providers.xai]")),
        ),
        (
            "[aliases]\n\"a.b\" = \"fast\"\nfast = \"wrok/m\"\n",
            Some(("aliases.fast", "`work/…`")),
        ),
        ("[aliases]\nfast = \"xai/grok-4\"\n[providers.xai]\n", None),
        ("[aliases]\nfast = \"nous/m\"\n", None),
        ("[aliases]\nfast = \"anthropic/claude\"\n", None),
        ("[aliases]\nfast = \"work/m\"\n", None),
        (
            "[aliases]\nfast = \"xai/grok-4\"\n[[route]]\nmodels = [\"xai/*\"]\nprovider = \"work\"\n",
            None,
        ),
    ] {
        let warnings = good(&format!("{text}{WORK}")).routing_warnings();
        let found: Vec<_> = warnings.iter().map(|(key, _)| key.as_str()).collect();
        let expected_keys: Vec<_> = expected.iter().map(|(key, _)| *key).collect();
        assert_eq!(found, expected_keys, "{text}");
        for ((_, fault), (_, words)) in warnings.iter().zip(expected) {
            assert!(fault.contains(words), "{fault}");
        }
    }
}
